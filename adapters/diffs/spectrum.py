"""The singular values of a change: how many directions it really has.

Three ways in, one result. Factored changes (L·R) go through QR of both factors and the SVD of the small core, so no
m × n matrix exists. Dense changes whose smaller side is at most 1024 go through the Gram matrix in float64, which
resolves singular values down to about 1e-7 of the largest. Larger ones are sketched with 128 random directions
(Halko, Martinsson and Tropp 2011), and then every count is "at least".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.formats.values import Array

GRAM_SIDE = 1024
HELD_ELEMENTS = 1 << 24
PROBES = 128
SHOWN = 32
RESOLUTION = 2e-7
Blocks = Callable[[], Iterator[Array]]


@dataclass(frozen=True)
class Spectrum:
    """Singular values, largest first, and what they add up to.

    effective_rank: exp of the entropy of the squared singular values taken as shares (Roy and Vetterli 2007);
    rank_90: how many carry 90 % of the squared norm; stable_rank: squared norm over the square of the largest.
    `at_least`: only the largest values are known, so the two ranks are lower bounds. `sides` are (m, n).
    """

    values: Array
    energy: float
    sides: tuple[int, int]
    at_least: bool = False

    @property
    def rank_90(self) -> int:
        """0 for no change at all."""
        if self.energy <= 0 or not self.values.size:
            return 0
        reached = np.cumsum(np.square(self.values)) >= 0.9 * self.energy * (1 - 1e-12)
        return int(np.argmax(reached)) + 1 if reached.any() else int(self.values.size)

    @property
    def effective_rank(self) -> float:
        """Between 1 and min(m, n); 0 for no change at all."""
        if self.energy <= 0 or not self.values.size:
            return 0.0
        shares = np.square(self.values) / self.energy
        shares = shares[shares > 0]
        return float(np.exp(-np.sum(shares * np.log(shares))))

    @property
    def stable_rank(self) -> float:
        """Between 1 and the rank; 0 for no change at all."""
        largest = float(self.values[0]) if self.values.size else 0.0
        return self.energy / largest**2 if largest > 0 else 0.0

    def facts(self) -> dict[str, Any]:
        """The numbers as they are kept and shown."""
        return {
            "effective_rank": round(self.effective_rank, 2),
            "rank_90": self.rank_90,
            "stable_rank": round(self.stable_rank, 2),
            "ranks_at_least": self.at_least,
            "singular_values": [float(f"{value:.5g}") for value in self.values[:SHOWN]],
        }


def of_factors(left: Array, right: Array) -> Spectrum:
    """The spectrum of left · right (m × r times r × n) without forming it; float64 throughout."""
    sides = (left.shape[0], right.shape[1])
    if not left.shape[1]:
        return Spectrum(np.zeros(0), 0.0, sides)
    left_core, right_core = cores(left, right)
    return of_cores(left_core, right_core, sides)


def cores(left: Array, right: Array) -> tuple[Array, Array]:
    """The triangles of the QR of left (k × r) and of rightᵀ; every product of their columns has the same spectrum.

    With the factors of two updates side by side, the columns of one of them alone give that update's own spectrum.
    """
    left_core: Array = np.asarray(np.linalg.qr(left.astype(np.float64), mode="r"))
    right_core: Array = np.asarray(np.linalg.qr(right.T.astype(np.float64), mode="r"))
    return left_core, right_core


def of_cores(left_core: Array, right_core: Array, sides: tuple[int, int]) -> Spectrum:
    """The spectrum of left_core · right_coreᵀ, which stands for an m × n matrix."""
    values = np.linalg.svd(left_core @ right_core.T, compute_uv=False)
    return Spectrum(values, float(np.sum(np.square(values))), sides)


def of_blocks(blocks: Blocks, sides: tuple[int, int], energy: float) -> Spectrum:
    """The spectrum of an m × n matrix that comes in blocks of rows (finite float64), as often as asked.

    `energy` is its squared norm. Memory: the smaller side squared, or 128 rows and columns where both are over 1024.
    """
    rows, columns = sides
    scale = energy**0.5
    if scale == 0:
        return Spectrum(np.zeros(0), 0.0, sides)
    if rows <= min(columns, GRAM_SIDE) and rows * columns <= HELD_ELEMENTS:
        return _from_gram(_gram_of_rows(blocks(), rows, scale), scale, sides)
    if columns <= GRAM_SIDE:
        return _from_gram(_gram_of_columns(blocks(), columns, scale), scale, sides)
    if rows <= GRAM_SIDE:
        return _from_gram(_gram_of_rows(blocks(), rows, scale), scale, sides)
    return _sketched(blocks, sides, energy)


def _gram_of_columns(blocks: Iterator[Array], columns: int, scale: float) -> Array:
    gram = np.zeros((columns, columns))
    for block in blocks:
        used = block[block.any(axis=1)] / scale
        if used.shape[0]:
            gram += used.T @ used
    return gram


def _gram_of_rows(blocks: Iterator[Array], rows: int, scale: float) -> Array:
    """D · Dᵀ from blocks of rows: every block against itself and those before it, which are kept in float64."""
    kept = [block / scale for block in blocks]
    gram = np.zeros((rows, rows))
    row = 0
    for number, block in enumerate(kept):
        column = 0
        for other in kept[: number + 1]:
            part = block @ other.T
            gram[row : row + block.shape[0], column : column + other.shape[0]] = part
            gram[column : column + other.shape[0], row : row + block.shape[0]] = part.T
            column += other.shape[0]
        row += block.shape[0]
    return gram


def _from_gram(gram: Array, scale: float, sides: tuple[int, int]) -> Spectrum:
    squared = np.linalg.eigvalsh(gram)[::-1][: min(sides)]
    values = np.sqrt(np.maximum(squared, 0.0))
    values[values < RESOLUTION * values[0]] = 0.0
    return Spectrum(values * scale, scale**2, sides)


def _sketched(blocks: Blocks, sides: tuple[int, int], energy: float) -> Spectrum:
    """Two passes: Y = D·Ω gives the range, Z = Qᵀ·D its singular values. Fixed seed, so the same numbers every time."""
    probes = min(PROBES, *sides)
    omega = np.random.default_rng(0).normal(size=(sides[1], probes))
    basis, _ = np.linalg.qr(np.concatenate([block @ omega for block in blocks()]))
    projected, row = np.zeros((probes, sides[1])), 0
    for block in blocks():
        projected += basis[row : row + block.shape[0]].T @ block
        row += block.shape[0]
    values = np.linalg.svd(projected, compute_uv=False)
    missing = energy - float(np.sum(np.square(values)))
    return Spectrum(values, energy, sides, at_least=missing > 1e-6 * energy)
