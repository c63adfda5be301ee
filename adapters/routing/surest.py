"""When two specialists are about equally near, the one that is surer of its answer than on neutral text speaks.

Raw confidence says little: each specialist is sure of everything. Its energy, log Σ exp(logits), measured against its
own energies on a fixed pool of neutral sentences, tells inputs of its kind from others, whatever the scale of its head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adapters.embeddings.declaration import Array

WEIGHT, MOST = 0.04, 3.0
CLOSE = 0.12
"""Router scores that far apart are not put in question."""


def energies(logits: Sequence[Array]) -> Array:
    """log Σ exp(logits) of each row (Liu et al. 2020, with the sign that larger is more usual)."""
    return np.asarray([float(np.logaddexp.reduce(np.asarray(row, np.float64))) for row in logits])


def sureness(logits: Sequence[Array], neutral: Sequence[Array]) -> Array:
    """How many standard deviations each row's energy lies above those of neutral text, within ±3."""
    pool = energies(neutral)
    return np.asarray(np.clip((energies(logits) - pool.mean()) / max(float(pool.std()), 1e-3), -MOST, MOST))


def close(scores: Sequence[float]) -> int:
    """How many of the best two, by falling score, should speak."""
    return 2 if len(scores) > 1 and scores[0] - scores[1] < CLOSE else 1


def surest(scores: Sequence[float], sure: Sequence[float | None]) -> int:
    """Which one speaks: the largest score + 0.04 · sureness; the first where a sureness is not known."""
    if any(value is None for value in sure):
        return 0
    return int(np.argmax([score + WEIGHT * float(value or 0.0) for score, value in zip(scores, sure, strict=True)]))
