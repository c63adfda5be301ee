"""The second half of TIES: elect a sign for every entry, then average only what agrees with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from merges.methods.declaration import Parameter
from merges.methods.deltas import Array, Dense

Blocks = Callable[[], Iterator[tuple[slice, Array]]]

NORMALIZE = Parameter(
    "normalize", "choice", "weight",
    "What the sum of agreeing entries is divided by: the sum of their weights, their count, or nothing.",
    choices=("weight", "count", "none"),
)  # fmt: skip
ZERO_SIGN = Parameter(
    "zero_sign", "choice", "plus",
    "The sign elected where the weighted sum is exactly zero: plus, or the majority sign of the layer.",
    choices=("plus", "majority"),
)  # fmt: skip


def elect(
    shape: tuple[int, int], parts: Blocks, weights: Sequence[float], normalize: str, zero_sign: str, scale: float
) -> Dense:
    """λ · Σ wᵢτᵢ / D over the entries whose wᵢτᵢ has the elected sign γ = sign(Σ wᵢτᵢ) (Yadav et al. 2023, steps 2-4).

    `parts` gives fresh row blocks of all inputs, shape (inputs, rows, columns), and can be called again. D is Σ|wᵢ| of
    the agreeing entries, their count, or 1. Where nothing agrees the result is zero.
    """
    tie = _majority(parts, weights) if zero_sign == "majority" else 1.0
    column = np.asarray(weights, np.float32)
    share = {"weight": np.abs(column), "count": np.ones_like(column)}.get(normalize)
    weighted = bool((column != 1).any())
    result = np.empty(shape, np.float32)
    for block, values in parts():
        if weighted:
            values *= column[:, None, None]
        total = values.sum(axis=0)
        plus = total > 0 if tie < 0 else total >= 0
        np.negative(values, out=values, where=~plus)
        np.maximum(values, np.float32(0.0), out=values)
        merged = values.sum(axis=0)
        if share is not None:
            divisor = np.zeros_like(merged)
            for one, weight in zip(values, share, strict=True):
                divisor += (one > 0) * weight
            merged /= np.where(divisor > 0, divisor, np.float32(1.0))
        result[block] = np.where(plus, merged, -merged) * np.float32(scale)
    return Dense(result)


def _majority(parts: Blocks, weights: Sequence[float]) -> float:
    """The sign that wins most entries of the layer, plus if they are even."""
    column = np.asarray(weights, np.float32)[:, None, None]
    votes = sum(int(np.sign((values * column).sum(axis=0)).sum(dtype=np.float64)) for _, values in parts())
    return -1.0 if votes < 0 else 1.0
