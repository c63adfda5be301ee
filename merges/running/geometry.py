"""How the inputs lie to each other: cosines over the whole adapter, and how much of their mass cancels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from merges.methods import Layer
from merges.methods.deltas import LowRank, inner

SAMPLED_ROWS, SAMPLED_VALUES = 16, 1 << 17


@dataclass(frozen=True)
class Conflict:
    """Mass of the weighted updates, and what is left of it after adding them up, both over the whole layer."""

    mass: float
    left: float

    @property
    def share(self) -> float:
        """1 − |Σ wᵢτᵢ| / Σ |wᵢτᵢ|: 0 if all signs agree, 1 if everything cancels."""
        return max(0.0, 1.0 - self.left / self.mass) if self.mass else 0.0


def conflict(layer: Layer) -> Conflict:
    """Sign conflict of one layer, on a few evenly spaced rows, so that it never costs more than merging."""
    count, rows = layer.shape[0], _sample(layer)
    total = np.zeros((rows.size, layer.shape[1]), np.float32)
    mass = 0.0
    for source in layer.sources:
        values = source.delta.rows(rows) * np.float32(source.weight)
        total += values
        mass += float(np.abs(values).sum(dtype=np.float64))
    scale = count / rows.size
    return Conflict(mass * scale, float(np.abs(total).sum(dtype=np.float64)) * scale)


def sampled(layer: Layer) -> tuple[Conflict, Any]:
    """Sign conflict and inner products of one large layer, both on the same few rows and scaled up to all."""
    count, rows = layer.shape[0], _sample(layer)
    values = np.stack([source.delta.rows(rows).ravel() for source in layer.sources])
    weighted = values * np.asarray(layer.weights, np.float32)[:, None]
    scale = count / rows.size
    mass = float(np.abs(weighted).sum(dtype=np.float64)) * scale
    left = float(np.abs(weighted.sum(axis=0)).sum(dtype=np.float64)) * scale
    wide = values.astype(np.float64)
    return Conflict(mass, left), scale * (wide @ wide.T)


def products(layer: Layer) -> Any:
    """Inner products of all pairs of inputs on one layer (inputs × inputs, float64)."""
    deltas = layer.deltas
    factors = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(factors) == len(deltas):
        return _factored_products(factors)
    result = np.zeros((len(deltas), len(deltas)))
    for row, one in enumerate(deltas):
        for column in range(row + 1):
            result[row, column] = result[column, row] = inner(one, deltas[column])
    return result


def _factored_products(factors: list[LowRank]) -> Any:
    """⟨LᵢRᵢ, LⱼRⱼ⟩ from one Gram matrix of all left and one of all right factors."""
    left = np.concatenate([delta.left for delta in factors], axis=1)
    right = np.concatenate([delta.right for delta in factors], axis=0)
    both = (left.T @ left).astype(np.float64) * (right @ right.T)
    ends = np.cumsum([0, *(delta.rank for delta in factors)])
    result = np.zeros((len(factors), len(factors)))
    for row in range(len(factors)):
        for column in range(len(factors)):
            result[row, column] = both[ends[row] : ends[row + 1], ends[column] : ends[column + 1]].sum()
    return result


def _sample(layer: Layer) -> Any:
    """Evenly spaced rows: about 131,072 entries of each input, at least 16 rows."""
    count = layer.shape[0]
    wanted = min(count, max(SAMPLED_ROWS, SAMPLED_VALUES // layer.shape[1]))
    return np.unique(np.linspace(0, count - 1, wanted).astype(np.int64))


def cosines(summed: Any) -> list[list[float | None]]:
    """The cosine matrix from inner products summed over all layers; None where an input is zero."""
    lengths = np.sqrt(np.maximum(np.diag(summed), 0.0))
    return [
        [float(np.clip(summed[row, column] / (one * other), -1.0, 1.0)) if one * other else None
         for column, other in enumerate(lengths)]
        for row, one in enumerate(lengths)
    ]  # fmt: skip
