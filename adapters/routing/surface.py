"""How texts are written, as vectors: letters and their neighbours, beside the meaning that the encoder sees.

A message and a review can say the same; their spelling, marks and shortness tell them apart. Case is left out, so that
an input typed carelessly still finds its specialist.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adapters.embeddings.declaration import Array

WIDTH, LETTERS, LONGEST = 512, 300, 3
_MIXING = np.uint64(0x9E3779B97F4A7C15)


def surfaces(texts: Sequence[str]) -> Array:
    """Unit vectors (n, 512): signed, hashed counts of the 1- to 3-grams of each text's first 300 letters, damped by
    the square root (feature hashing, Weinberger et al. 2009)."""
    return np.stack([_surface(text) for text in texts]) if texts else np.zeros((0, WIDTH), np.float32)


def _surface(text: str) -> Array:
    letters = np.frombuffer(f"\x02{text[:LETTERS].lower()}\x03".encode("utf-8", "replace"), np.uint8).astype(np.uint64)
    grams, found = letters, []
    for size in range(1, LONGEST + 1):
        found.append(grams * np.uint64(8) + np.uint64(size))
        grams = grams[:-1] * np.uint64(256) + letters[size:]
    hashed = (np.concatenate(found) * _MIXING) >> np.uint64(40)
    signs = np.where(hashed & np.uint64(1), 1.0, -1.0)
    counts = np.bincount(((hashed >> np.uint64(1)) % np.uint64(WIDTH)).astype(np.int64), weights=signs, minlength=WIDTH)
    damped = np.sign(counts) * np.sqrt(np.abs(counts))
    return np.asarray(damped / max(float(np.linalg.norm(damped)), 1e-9), np.float32)
