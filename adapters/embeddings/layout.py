"""Vectors on a plane: near ones near, and what is drawn stays where it is when others come."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ENOUGH = 12
"""From this many vectors on t-SNE has something to arrange; fewer are drawn by their two principal axes."""
NEIGHBOURS = 5
APART = 0.03


def lay_out(vectors: Array, start: Array | None = None, seed: int = 0) -> Array:
    """Coordinates (n, 2) in [-1, 1]: t-SNE on cosines (van der Maaten & Hinton 2008; openTSNE, Poličar et al. 2019).

    `start` holds earlier coordinates, NaN for new vectors: then the drawing keeps its orientation.
    """
    count = len(vectors)
    if count < ENOUGH:
        return _scaled(_principal(vectors)) if count > 1 else np.zeros((count, 2))
    from openTSNE import TSNE

    first = _scaled(_principal(vectors)) if start is None else np.where(np.isnan(start), _principal(vectors), start)
    fitted = TSNE(
        perplexity=min(30.0, (count - 1) / 3), metric="cosine", initialization=_small(first), random_state=seed,
        n_jobs=1, negative_gradient_method="bh" if count < 5000 else "fft",
    ).fit(np.asarray(vectors, np.float64))  # fmt: skip
    return _scaled(np.asarray(fitted, np.float64))


def lay_into(vector: Array, drawn: Array, points: Array, seed: int = 0) -> tuple[float, float]:
    """Where a new vector goes among drawn ones (n, d) at points (n, 2): the mean of its five nearest, by cosine.

    Nothing else moves. A small offset, decided by `seed`, keeps equal vectors from covering each other.
    """
    chance = np.random.default_rng(seed)
    angle = chance.uniform(0, 2 * np.pi)
    offset = APART * chance.uniform(0.5, 1.0) * np.array([np.cos(angle), np.sin(angle)])
    if not len(drawn):
        return float(offset[0]), float(offset[1])
    cosines = np.asarray(drawn, np.float64) @ np.asarray(vector, np.float64)
    near = np.argsort(-cosines)[:NEIGHBOURS]
    weights = np.exp(20.0 * (cosines[near] - cosines[near].max()))
    place = np.clip((weights[:, None] * points[near]).sum(0) / weights.sum() + offset, -1, 1)
    return float(place[0]), float(place[1])


def _principal(vectors: Array) -> Array:
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    u, sigma, _ = np.linalg.svd(centred, full_matrices=False)
    points = u[:, :2] * sigma[:2]
    # The sign of an axis is the solver's whim: the largest entry of each is made positive.
    signs = np.sign(points[np.abs(points).argmax(axis=0), np.arange(points.shape[1])])
    points = points * np.where(signs == 0, 1, signs)
    return points if points.shape[1] == 2 else np.column_stack([points[:, 0], np.zeros(len(points))])


def _scaled(points: Array) -> Array:
    centred = points - (points.max(axis=0) + points.min(axis=0)) / 2
    return np.asarray(centred / max(float(np.abs(centred).max()), 1e-9))


def _small(points: Array) -> Array:
    """Scaled as t-SNE wants to start: a standard deviation of 1e-4."""
    return np.asarray(points / max(float(points.std(axis=0).max()), 1e-9) * 1e-4)
