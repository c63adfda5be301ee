"""Shared bases: element-wise methods work on the coordinates of low-rank updates instead of on every entry of ΔW.

Both bases lose nothing, and any linear method gives the same in all three spaces. Bases are singular vectors in
float64 with a fixed sign (the entry of largest size is positive), since trimming depends on the basis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from merges.methods.declaration import Layer
from merges.methods.deltas import RANK_TOLERANCE, Array, Delta, Dense, LowRank, dense

SPACES = ("dense", "core", "knots")
Back = Callable[[Delta], Delta]


def project(layer: Layer, space: str) -> tuple[Layer, Back]:
    """The layer in coordinates, and the way back; the layer itself where an update is not low-rank.

    core (Panariello et al. 2025): Mᵢ = U_BᵀBᵢAᵢV_A (R × R). knots (Stoica et al. 2025): [ΔW₁|…] = U S [V₁ᵀ|…], each
    input is S Vᵢᵀ (R × n); found from the R × R Gram of the stacked factors, never from an m × Tn matrix.
    """
    factors = [delta for delta in layer.deltas if isinstance(delta, LowRank)]
    kept = [delta for delta in factors if delta.rank]
    if space == "dense" or len(factors) < len(layer.sources) or not kept or min(layer.shape) == 1:
        return layer, _same
    if space == "core":
        left = _basis(np.concatenate([delta.left for delta in kept], axis=1))
        right = _basis(np.concatenate([delta.right.T for delta in kept], axis=1))
        coordinates = [(left.T @ delta.left) @ (delta.right @ right) for delta in factors]
    else:
        left, right = _joint_basis(kept), np.eye(layer.shape[1])
        coordinates = [(left.T @ delta.left) @ delta.right for delta in factors]
    sources = tuple(
        replace(source, delta=Dense(values.astype(np.float32)))
        for source, values in zip(layer.sources, coordinates, strict=True)
    )
    identity = space == "knots"

    def back(merged: Delta) -> Delta:
        values = dense(merged).astype(np.float64)
        return LowRank(left, values if identity else values @ right.T)

    return Layer(layer.name, (left.shape[1], coordinates[0].shape[1]), sources), back


def _same(merged: Delta) -> Delta:
    return merged


def _basis(columns: Array) -> Array:
    """Left singular vectors of the columns, numerical rank only, signs fixed."""
    u, sigma, _ = np.linalg.svd(columns.astype(np.float64), full_matrices=False)
    return _signed(u[:, sigma > RANK_TOLERANCE * sigma.max(initial=0.0)])


def _joint_basis(deltas: list[LowRank]) -> Array:
    """Left singular vectors of [ΔW₁|…|ΔW_T] from the QR of all left factors and the Gram of what stands behind it."""
    lefts = np.concatenate([delta.left for delta in deltas], axis=1).astype(np.float64)
    basis, core = np.linalg.qr(lefts)
    gram = np.zeros((core.shape[0], core.shape[0]))
    start = 0
    for delta in deltas:
        block = core[:, start : start + delta.rank]
        right = delta.right.astype(np.float64)
        gram += block @ (right @ right.T) @ block.T
        start += delta.rank
    values, vectors = np.linalg.eigh(gram)
    kept = values > max(RANK_TOLERANCE**2, 1e-14) * values[-1]
    return _signed(basis @ vectors[:, kept][:, ::-1])


def _signed(basis: Array) -> Array:
    """The basis with the largest entry of each column positive."""
    signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    result: Array = basis * np.where(signs == 0, 1.0, signs)
    return result
