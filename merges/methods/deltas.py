"""What an adapter adds to one weight: a matrix ΔW, kept as two thin factors for as long as possible.

A LoRA layer is `LowRank(left, right)` with ΔW = left · right (the scaling is already inside); vectors and the results
of element-wise methods are `Dense`. Vectors are matrices of one row. Values are computed in fixed row blocks, small
enough for a processor's cache, so two passes over the same delta see the same bits and a pass needs little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from merges.methods.decomposing import decomposed
from merges.methods.scratch import BLOCK_VALUES, borrowed

Array = npt.NDArray[Any]

RANK_TOLERANCE = 1e-6
WELL_CONDITIONED = 1e4
LARGEST = float(np.finfo(np.float32).max)
CANCELLED = 64 * float(np.finfo(np.float64).eps)


class Delta(Protocol):
    """A matrix of shape (rows, columns) that can be read a few rows at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        ...

    def rows(self, selection: slice | Array, out: Array | None = None) -> Array:
        """The chosen rows in float32, put into `out` where given. What is not put there must not be written into."""
        ...


@dataclass(frozen=True)
class LowRank:
    """ΔW = left · right with left (m × r) and right (r × n); rank 0 is the zero matrix."""

    left: Array
    right: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)"""
        return self.left.shape[0], self.right.shape[1]

    @property
    def rank(self) -> int:
        """Number of columns of the left factor (an upper bound of the true rank)."""
        return int(self.left.shape[1])

    def rows(self, selection: slice | Array, out: Array | None = None) -> Array:
        """The chosen rows in float32."""
        return placed((self.left[selection] @ self.right), out)


@dataclass(frozen=True)
class Dense:
    """A matrix with all its values."""

    values: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        return self.values.shape[0], self.values.shape[1]

    def rows(self, selection: slice | Array, out: Array | None = None) -> Array:
        """The chosen rows in float32."""
        return placed(self.values[selection], out)


@dataclass(frozen=True)
class Blockwise:
    """A matrix that is computed block by block when it is read: `fill(block, out)` puts these rows into `out`.

    What a method gives back where the result is read once; `dense` holds it where it is read more often.
    """

    shape: tuple[int, int]
    fill: Callable[[slice, Array], None]

    def rows(self, selection: slice | Array, out: Array | None = None) -> Array:
        """The chosen rows in float32."""
        if not isinstance(selection, slice):
            return placed(np.concatenate([self.rows(slice(row, row + 1)) for row in selection.tolist()]), out)
        start, stop, _ = selection.indices(self.shape[0])
        result = np.empty((stop - start, self.shape[1]), np.float32) if out is None else out
        self.fill(slice(start, stop), result)
        return result


def placed(values: Array, out: Array | None) -> Array:
    """Values in float32, in `out` where given."""
    if out is None:
        return values.astype(np.float32, copy=False)
    np.copyto(out, values)
    return out


def zero(shape: tuple[int, int]) -> LowRank:
    """The delta of an adapter that leaves this weight alone."""
    return LowRank(np.zeros((shape[0], 0), np.float32), np.zeros((0, shape[1]), np.float32))


def blocks(shape: tuple[int, int]) -> Iterator[slice]:
    """The row blocks in which every pass over a delta of this shape is made."""
    step = max(1, BLOCK_VALUES // max(1, shape[1]))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def dense(delta: Delta) -> Array:
    """All values (m × n, float32)."""
    if isinstance(delta, Dense):
        return delta.rows(slice(None))
    values = np.empty(delta.shape, np.float32)
    for block in blocks(delta.shape):
        delta.rows(block, values[block])
    return values


def held(delta: Delta) -> Delta:
    """The delta as something that can be read often: computed once where it is computed block by block."""
    return Dense(dense(delta)) if isinstance(delta, Blockwise) else delta


def fits_float32(delta: Delta) -> bool:
    """Whether every value is finite in float32, and so is every product of factors.

    Σ|l||r| ≤ rank · max|L| · max|R| settles nearly all products; the others are multiplied out in float64.
    """
    parts = (delta.left, delta.right) if isinstance(delta, LowRank) else (dense(delta),)
    sizes = [float(np.abs(part).max(initial=0.0)) for part in parts]
    if not np.isfinite(sizes).all():
        return False
    if not isinstance(delta, LowRank) or delta.rank * sizes[0] * sizes[1] < LARGEST:
        return True
    right = delta.right.astype(np.float64)
    products = (delta.left[block].astype(np.float64) @ right for block in blocks(delta.shape))
    return all(float(np.abs(values).max(initial=0.0)) < LARGEST for values in products)


def inner(one: Delta, other: Delta) -> float:
    """Frobenius inner product ⟨one, other⟩ in float64; for two factored deltas without forming either matrix."""
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        if not (one.rank and other.rank):
            return 0.0
        lefts = one.left.T.astype(np.float64) @ other.left.astype(np.float64)
        rights = one.right.astype(np.float64) @ other.right.T.astype(np.float64)
        return float(np.sum(lefts * rights))
    parts = (
        np.vdot(one.rows(block).astype(np.float64), other.rows(block).astype(np.float64)) for block in blocks(one.shape)
    )
    return float(sum(parts))


def norm(delta: Delta) -> float:
    """Frobenius norm in float64."""
    return float(np.sqrt(max(inner(delta, delta), 0.0)))


def weighted_sum(deltas: Sequence[Delta], coefficients: Sequence[float]) -> Delta:
    """Σ cᵢ·ΔWᵢ: exact and factored (the ranks add up) when all are factored, otherwise block by block.

    Factored: left = [c₁L₁ | c₂L₂ | …], right = [R₁; R₂; …]. Raises ValueError if there is no delta.
    """
    if not deltas:
        raise ValueError("There is nothing to add up. Give at least one delta.")
    if all(isinstance(delta, LowRank) for delta in deltas):
        pairs = [(d, c) for d, c in zip(deltas, coefficients, strict=True) if isinstance(d, LowRank) and c and d.rank]
        if not pairs:
            return zero(deltas[0].shape)
        left = np.concatenate([d.left * d.left.dtype.type(c) for d, c in pairs], axis=1)
        return LowRank(left, np.concatenate([d.right for d, _ in pairs], axis=0))
    parts = [(delta, np.float32(c)) for delta, c in zip(deltas, coefficients, strict=True) if c]
    return Blockwise(deltas[0].shape, partial(_add_up, parts))


def _add_up(parts: Sequence[tuple[Delta, Any]], block: slice, out: Array) -> None:
    """Σ cᵢ·ΔWᵢ of one block, the first straight into its place."""
    if not parts:
        out.fill(0.0)
        return
    with borrowed(out.shape) as (term,):
        for number, (delta, coefficient) in enumerate(parts):
            values = delta.rows(block, term if number else out)
            if coefficient != 1:
                values *= coefficient
            if number:
                out += values


def svd(delta: Delta) -> tuple[Array, Array, Array]:
    """Thin singular value decomposition U (m × k), σ (k), V (n × k) in float64, k the numerical rank.

    A factored delta is never multiplied out: both factors made orthonormal, then the small core decomposed. Directions
    with σ ≤ 1e-6·σ₁, or below what rounding leaves of factors that cancel, are noise and left out.
    """
    floor = 0.0
    if isinstance(delta, LowRank):
        left_basis, left_turn, left_core = _orthonormal(delta.left.astype(np.float64))
        right_basis, right_turn, right_core = _orthonormal(delta.right.T.astype(np.float64))
        u, sigma, vt = np.linalg.svd(left_core @ right_core.T, full_matrices=False)
        u, v = left_basis @ (left_turn @ u), right_basis @ (right_turn @ vt.T)
        floor = CANCELLED * float(np.linalg.norm(left_core) * np.linalg.norm(right_core))
    else:
        u, sigma, vt = decomposed(dense(delta))
        v = vt.T
    kept = int(np.count_nonzero(sigma > max(RANK_TOLERANCE * sigma.max(initial=0.0), floor)))
    return u[:, :kept], sigma[:kept], v[:, :kept]


def _orthonormal(columns: Array) -> tuple[Array, Array, Array]:
    """X as (Y, T, R) with X = YTR, YT orthonormal: by Cholesky of XᵀX where X is far from rank-deficient, else by QR.

    Cholesky costs a quarter of Householder's reflections and loses cond(X)² of float64's digits, so it is kept to
    condition numbers below 1e4.
    """
    gram = columns.T @ columns
    try:
        lower = np.linalg.cholesky(gram)
        turn = np.linalg.inv(lower).T
    except np.linalg.LinAlgError:
        turn = lower = np.zeros((0, 0))
    if not turn.size or not float(np.linalg.norm(lower) * np.linalg.norm(turn)) < WELL_CONDITIONED:
        basis, core = np.linalg.qr(columns)
        return basis, np.eye(len(core)), core
    return columns, turn, lower.T
