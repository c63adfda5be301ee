"""Fisher's linear discriminant between specialists, in closed form and kept by two sums."""

from __future__ import annotations

import numpy as np

from adapters.embeddings.declaration import Array

SHRINK = 0.3


class Discriminant:
    """log p(place | x) up to a constant: xᵀΣ⁻¹μ − ½ μᵀΣ⁻¹μ, one Σ for all, pooled and shrunk by 0.3 towards its mean
    diagonal. Adding rows changes two sums, nothing is trained."""

    def __init__(self, width: int) -> None:
        """`width` is that of the rows."""
        self.width = width
        self._scatter = np.zeros((width, width), np.float64)
        self._degrees = 0
        self._precision: Array | None = None
        self._offsets = np.zeros(0, np.float64)

    def learn(self, rows: Array, sign: int) -> None:
        """Take a specialist's rows into Σ (sign 1), or out of it (sign -1)."""
        if len(rows) < 2:
            return
        centred = np.asarray(rows, np.float64) - np.mean(rows, axis=0, dtype=np.float64)
        self._scatter += sign * (centred.T @ centred)
        self._degrees += sign * (len(rows) - 1)
        self._precision = None
        self._offsets[:] = np.nan

    def forget(self, place: int) -> None:
        """The mean at a place has changed."""
        if place < len(self._offsets):
            self._offsets[place] = np.nan

    @property
    def precision(self) -> Array:
        """Σ⁻¹ (d, d)."""
        if self._precision is None:
            pooled = self._scatter / max(self._degrees, 1)
            level = max(float(np.trace(pooled)) / self.width, 1e-6)
            self._precision = np.linalg.inv((1 - SHRINK) * pooled + SHRINK * level * np.eye(self.width))
        return self._precision

    def scores(self, vectors: Array, means: Array, places: Array | None = None) -> Array:
        """Scores (n, c) of inputs for specialists with these means (c, d); zeros before anything was learned.

        With `places` the part that does not depend on the input is kept for the next time.
        """
        if self._degrees <= 0:
            return np.zeros((len(vectors), len(means)))
        products = (np.asarray(vectors, np.float64) @ self.precision) @ means.T
        return np.asarray(products + (self._quadratic(means) if places is None else self._kept(means, places)))

    def _kept(self, means: Array, places: Array) -> Array:
        if len(places) and int(places.max()) >= len(self._offsets):
            more = np.full(int(places.max()) + 64 - len(self._offsets), np.nan)
            self._offsets = np.concatenate([self._offsets, more])
        unknown = np.flatnonzero(np.isnan(self._offsets[places]))
        if len(unknown):
            self._offsets[places[unknown]] = self._quadratic(means[unknown])
        return self._offsets[places]

    def _quadratic(self, means: Array) -> Array:
        exact = np.asarray(means, np.float64)
        return np.asarray(-0.5 * np.sum((exact @ self.precision) * exact, axis=1))
