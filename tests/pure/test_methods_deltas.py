"""Factored and dense deltas are the same matrices, whichever way they are looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merges.methods.deltas import Dense, LowRank, dense, inner, norm, svd, weighted_sum, zero


def low_rank(rows: int, columns: int, rank: int, seed: int) -> LowRank:
    random = np.random.default_rng(seed)
    return LowRank(
        random.normal(size=(rows, rank)).astype(np.float32), random.normal(size=(rank, columns)).astype(np.float32)
    )


sizes = st.integers(1, 20)


@given(sizes, sizes, st.integers(0, 5), st.integers(0, 5), st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 99))
def test_a_factored_sum_is_the_dense_sum(
    rows: int, columns: int, first: int, second: int, one: float, two: float, seed: int
) -> None:
    deltas = [low_rank(rows, columns, first, seed), low_rank(rows, columns, second, seed + 1)]
    summed = weighted_sum(deltas, [one, two])
    assert isinstance(summed, LowRank)
    expected = one * dense(deltas[0]).astype(float) + two * dense(deltas[1]).astype(float)
    np.testing.assert_allclose(dense(summed), expected, atol=1e-4)


def test_a_sum_with_one_dense_part_is_dense() -> None:
    factors, full = low_rank(600, 7, 3, 0), Dense(np.ones((600, 7), np.float32))
    summed = weighted_sum([factors, full], [2.0, -1.0])
    np.testing.assert_allclose(dense(summed), 2 * dense(factors) - 1, atol=1e-5)


@given(sizes, sizes, st.integers(0, 5), st.integers(0, 99))
def test_inner_products_agree_in_both_forms(rows: int, columns: int, rank: int, seed: int) -> None:
    one, other = low_rank(rows, columns, rank, seed), low_rank(rows, columns, 2, seed + 1)
    factored, plain = inner(one, other), inner(Dense(dense(one)), Dense(dense(other)))
    assert factored == pytest.approx(plain, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("rows", "columns", "rank"), [(30, 12, 4), (12, 30, 4), (5, 6, 9), (1, 8, 1)])
def test_svd_without_multiplying_out_equals_the_dense_one(rows: int, columns: int, rank: int) -> None:
    delta = low_rank(rows, columns, rank, 3)
    u, sigma, v = svd(delta)
    np.testing.assert_allclose(
        sigma, np.linalg.svd(dense(delta).astype(float), compute_uv=False)[: sigma.size], rtol=1e-5
    )
    np.testing.assert_allclose((u * sigma) @ v.T, dense(delta), atol=1e-5)
    np.testing.assert_allclose(u.T @ u, np.eye(sigma.size), atol=1e-10)
    assert sigma.size == min(rows, columns, rank)


def test_svd_finds_the_numerical_rank() -> None:
    delta = low_rank(40, 30, 3, 5)
    doubled = weighted_sum([delta, delta], [1.0, 1.0])
    assert isinstance(doubled, LowRank)
    assert doubled.rank == 6
    assert svd(doubled)[1].size == 3
    assert svd(zero((4, 5)))[1].size == 0


def test_the_norm_of_a_large_delta_is_summed_in_float64() -> None:
    delta = Dense(np.full((4096, 1024), 0.1, np.float32))
    assert norm(delta) == pytest.approx(float(np.float32(0.1)) * 2048, rel=1e-9)
