"""How the inputs lie to each other: cosines over the whole adapter, and how much of their mass cancels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from merges.methods import Layer
from merges.methods.deltas import LowRank, inner
from merges.methods.trimming import sampled_rows

SAMPLED_VALUES = 1 << 15


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
    """Sign conflict of one layer, on a few evenly spaced runs of rows, so that it never costs more than merging."""
    count, rows = layer.shape[0], sampled_rows(layer.shape, SAMPLED_VALUES)
    total = np.zeros((rows.size, layer.shape[1]), np.float32)
    mass = 0.0
    for source in layer.sources:
        values = source.delta.rows(rows) * np.float32(source.weight)
        total += values
        mass += float(np.abs(values).sum(dtype=np.float64))
    scale = count / max(1, rows.size)
    return Conflict(mass * scale, float(np.abs(total).sum(dtype=np.float64)) * scale)


def sampled(layer: Layer) -> tuple[Conflict, Any]:
    """Sign conflict and inner products of one large layer, both on the same few rows and scaled up to all."""
    count, rows = layer.shape[0], sampled_rows(layer.shape, SAMPLED_VALUES)
    values = np.empty((len(layer.sources), rows.size * layer.shape[1]), np.float32)
    for source, place in zip(layer.sources, values, strict=True):
        source.delta.rows(rows, place.reshape(rows.size, layer.shape[1]))
    weights = np.asarray(layer.weights, np.float32)
    scale = count / max(1, rows.size)
    mass = float(np.abs(weights) @ np.abs(values).sum(axis=1, dtype=np.float64)) * scale
    left = float(np.abs(weights @ values).sum(dtype=np.float64)) * scale
    with np.errstate(over="ignore", invalid="ignore"):
        gram = (values @ values.T).astype(np.float64)
    if not np.isfinite(gram).all():  # squares of values above 1e19 overflow float32
        wide = values.astype(np.float64)
        gram = wide @ wide.T
    return Conflict(mass, left), scale * gram


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
    with np.errstate(over="ignore", invalid="ignore"):
        both = (left.T @ left).astype(np.float64) * (right @ right.T)
    if not np.isfinite(both).all():
        wide, other = left.astype(np.float64), right.astype(np.float64)
        both = (wide.T @ wide) * (other @ other.T)
    ends = np.cumsum([0, *(delta.rank for delta in factors)])
    result = np.zeros((len(factors), len(factors)))
    for row in range(len(factors)):
        for column in range(len(factors)):
            result[row, column] = both[ends[row] : ends[row + 1], ends[column] : ends[column + 1]].sum()
    return result


def cosines(summed: Any) -> list[list[float | None]]:
    """The cosine matrix from inner products summed over all layers; None where an input is zero."""
    lengths = np.sqrt(np.maximum(np.diag(summed), 0.0))
    return [
        [float(np.clip(summed[row, column] / (one * other), -1.0, 1.0)) if one * other else None
         for column, other in enumerate(lengths)]
        for row, one in enumerate(lengths)
    ]  # fmt: skip
