"""Paired statistics against the textbook and against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merges.evaluation.paired import pair, progress

BOOLS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=80)


@given(BOOLS)
@settings(max_examples=60)
def test_counts_error_and_p_are_the_textbook_ones(rows: list[tuple[bool, bool]]) -> None:
    left, right = (list(side) for side in zip(*rows, strict=True))
    found = pair(left, right, draws=200)
    gaps = np.array(left, dtype=float) - np.array(right, dtype=float)
    assert found.n == len(rows)
    assert found.difference == pytest.approx(gaps.mean())
    assert found.standard_error == pytest.approx(gaps.std(ddof=1) / len(rows) ** 0.5, abs=1e-12)
    n = found.wins + found.losses
    tail = sum(math.comb(n, k) for k in range(min(found.wins, found.losses) + 1))
    expected = min(1.0, 2 * tail / 2**n)
    assert found.p == pytest.approx(expected)
    assert found.low <= found.high
    other = pair(right, left, draws=200)
    assert (other.wins, other.losses, other.p) == (found.losses, found.wins, found.p)


def test_the_interval_is_that_of_drawing_items() -> None:
    chance = np.random.default_rng(3)
    left, right = chance.random(300) < 0.8, chance.random(300) < 0.7
    found = pair(left, right, draws=5000)
    gaps = left.astype(float) - right
    means = [gaps[chance.integers(0, 300, 300)].mean() for _ in range(5000)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.01)
    assert pair(left, right, seed=1) == pair(left, right, seed=1)


def test_worse_needs_more_than_chance() -> None:
    same = [True] * 40
    assert pair([False] * 8 + same, [True] * 8 + same).is_worse
    assert not pair([False] * 3 + same, [True] * 3 + same).is_worse
    assert not pair([True] * 8 + same, [False] * 8 + same).is_worse
    for wrong in (([], []), ([True], [True, False])):
        with pytest.raises(ValueError, match="same items"):
            pair(*wrong)


def test_progress_is_undefined_where_base_and_specialist_are_one() -> None:
    assert progress(0.5, 0.9, 0.8, 0.01, 0.01) == pytest.approx(0.75)
    assert progress(0.5, 0.52, 0.8, 0.02, 0.02) is None
    assert progress(0.5, 0.5, 0.5, 0.0, 0.0) is None
