"""A merged delta back to two thin factors, and how much of it that loses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from merges.methods.deltas import RANK_TOLERANCE, Array, Delta, LowRank, blocks, dense, norm, svd, weighted_sum

# Up to this size the Gram matrix of the shorter side is decomposed exactly; beyond, its leading part is iterated.
EXACT_SIDE = 2048
ITERATIONS = 4
PROBES = 16
CLEARLY_INDEPENDENT = 100.0
# Below it float32 has no digits left to spare.
SMALLEST_SQUARE = 1e-30


def factored(delta: Delta, rank: int | None) -> LowRank:
    """The best factors B·A of at most `rank` (None: the numerical rank), balanced: B = Uσ^½, A = σ^½Vᵀ.

    Eckart & Young (1936); balanced factors keep their digits best when rounded to 16 bits. Never less than rank 1,
    which peft needs, with zeros where there is nothing.
    """
    if isinstance(delta, LowRank):
        u, sigma, v = svd(delta)
        u, sigma, v = u[:, :rank], sigma[:rank], v[:, :rank]
    else:
        u, sigma, v = _leading(dense(delta), rank)
    return _balanced(delta.shape, u, sigma, v)


def _balanced(shape: tuple[int, int], u: Array, sigma: Array, v: Array) -> LowRank:
    """B = Uσ^½ and A = σ^½Vᵀ in float32; rank 1 of zeros where there is nothing."""
    if not sigma.size:
        return LowRank(np.zeros((shape[0], 1), np.float32), np.zeros((1, shape[1]), np.float32))
    root = np.sqrt(sigma)
    return LowRank((u * root).astype(np.float32), (root[:, None] * v.T).astype(np.float32))


@dataclass(frozen=True)
class Reduced:
    """Factors as float32, before they are rounded to the output's type; ‖merged‖, and ‖merged − factors‖ by rank."""

    factors: LowRank
    norm: float
    lost: float


def reduced(delta: Delta, rank: int | None) -> Reduced:
    """`factored`, with what it loses: the tail of the spectrum, which costs nothing to know while factors stay thin."""
    if not isinstance(delta, LowRank):
        factors = factored(delta, rank)
        return Reduced(factors, norm(delta), distance(delta, factors))
    u, sigma, v = svd(delta)
    tail = sigma[rank:] if rank is not None else sigma[:0]
    return Reduced(
        _balanced(delta.shape, u[:, :rank], sigma[:rank], v[:, :rank]),
        float(np.sqrt(np.square(sigma).sum())),
        float(np.sqrt(np.square(tail).sum())),
    )


def already_minimal(delta: LowRank) -> Reduced | None:
    """The factors as they are where no direction of their product can be left out, None where that is not sure.

    Of L·R the smallest singular value is at least σₘᵢₙ(L)·σₘᵢₙ(R) and the largest at most σₘₐₓ(L)·σₘₐₓ(R), so factors
    with condition numbers below 100 have a product of full rank, far above what counts as noise: nothing need be
    decomposed. Float32 knows the eigenvalues of LᵀL and RRᵀ well enough for that bound.
    """
    if not 0 < delta.rank <= min(delta.shape):
        return None
    left, right = delta.left.astype(np.float32, copy=False), delta.right.astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        grams = left.T @ left, right @ right.T
    for gram in grams:
        if not (np.isfinite(gram).all() and gram.diagonal().min() > SMALLEST_SQUARE):
            return None
        values = np.linalg.eigvalsh(gram)
        if not values[0] * CLEARLY_INDEPENDENT**2 > values[-1]:
            return None
    return Reduced(LowRank(left, right), float(np.sqrt(np.multiply(*grams, dtype=np.float64).sum())), 0.0)


def rounding(delta: LowRank, written: LowRank) -> float:
    """‖delta − written‖ for factors of one rank that differ by rounding: (L − L′)R + L′(R − R′), estimated by probes.

    E‖(X − Y)z‖² = ‖X − Y‖² for standard normal z (Hutchinson 1989); 16 probes, fixed seed, float64.
    """
    if delta.left is written.left and delta.right is written.right:
        return 0.0
    draw = np.random.Generator(np.random.PCG64(0))
    probes = draw.standard_normal((delta.shape[1], PROBES))
    right, other = delta.right.astype(np.float64), written.right.astype(np.float64)
    left, last = delta.left.astype(np.float64), written.left.astype(np.float64)
    difference = (left - last) @ (right @ probes) + last @ ((right - other) @ probes)
    return float(np.sqrt(np.square(difference).sum() / PROBES))


def stacked(delta: LowRank) -> LowRank:
    """The factors as they are side by side, in float32, at least rank 1."""
    if not delta.rank:
        return factored(delta, None)
    return LowRank(delta.left.astype(np.float32), delta.right.astype(np.float32))


def distance(delta: Delta, written: Delta) -> float:
    """Frobenius norm of the difference between what was merged and what was written, in float64."""
    if isinstance(delta, LowRank) and isinstance(written, LowRank):
        return norm(weighted_sum([delta, written], [1.0, -1.0]))
    parts = (
        np.square(delta.rows(block).astype(np.float64) - written.rows(block)).sum() for block in blocks(delta.shape)
    )
    return float(np.sqrt(sum(parts)))


def _leading(values: Array, rank: int | None) -> tuple[Array, Array, Array]:
    """U, σ, V of the leading singular triplets of a dense matrix, found from its shorter side."""
    if values.shape[0] < values.shape[1]:
        v, sigma, u = _leading(values.T, rank)
        return u, sigma, v
    side = values.shape[1]
    if rank is None or side <= EXACT_SIDE or 4 * rank >= side:
        v = _gram_directions(values, rank or side)
    else:
        v = _iterated_directions(values, rank)
    carried = values.astype(np.float64) @ v
    sigma = np.sqrt(np.square(carried).sum(axis=0))
    kept = sigma > RANK_TOLERANCE * sigma.max(initial=0.0)
    return carried[:, kept] / sigma[kept], sigma[kept], v[:, kept]


def _gram_directions(values: Array, rank: int) -> Array:
    """The leading right singular vectors as eigenvectors of the Gram matrix, float64."""
    wide = values.astype(np.float64)
    _, vectors = np.linalg.eigh(wide.T @ wide)
    return vectors[:, ::-1][:, :rank]


def _iterated_directions(values: Array, rank: int) -> Array:
    """The same by randomised subspace iteration over twice the rank (Halko, Martinsson & Tropp 2011), fixed seed."""
    draw = np.random.Generator(np.random.PCG64(0))
    basis = draw.standard_normal((values.shape[1], 2 * rank), dtype=np.float32)
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(values.T @ (values @ basis))
    core = (values @ basis).astype(np.float64)
    _, turns = np.linalg.eigh(core.T @ core)
    exact, _ = np.linalg.qr(basis.astype(np.float64))
    directions: Array = exact @ turns[:, ::-1][:, :rank]
    return directions
