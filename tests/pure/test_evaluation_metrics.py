"""Every metric against a closed form or scikit-learn and scipy, which are used here only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as oracle

from merges.evaluation import metrics

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=60)


@given(PAIRS)
def test_scores_agree_with_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    expected, predicted = [p[0] for p in pairs], [p[1] for p in pairs]
    assert metrics.accuracy(expected, predicted) == pytest.approx(oracle.accuracy_score(expected, predicted))
    f1 = oracle.f1_score(expected, predicted, average="macro", zero_division=0)
    assert metrics.macro_f1(expected, predicted) == pytest.approx(f1)
    assert metrics.mcc(expected, predicted) == pytest.approx(oracle.matthews_corrcoef(expected, predicted), abs=1e-12)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(expected, predicted, "abcd"),
        oracle.confusion_matrix(expected, predicted, labels=list("abcd")),
    )


@given(st.integers(1, 500), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_interval_agrees_with_scipy(n: int, data: st.DataObject, confidence: float) -> None:
    right = data.draw(st.integers(0, n))
    interval = binomtest(right, n).proportion_ci(confidence, method="wilson")
    assert metrics.wilson_interval(right, n, confidence) == pytest.approx((interval.low, interval.high), abs=1e-9)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_agrees_with_the_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert metrics.mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_items_does_not_overflow() -> None:
    assert metrics.mcnemar_exact(3000, 3000) == 1.0
    assert 0 <= metrics.mcnemar_exact(0, 5000) < 1e-300


def test_closed_forms() -> None:
    assert metrics.standard_error(0.8, 100) == pytest.approx(0.04)
    assert metrics.mcnemar_exact(0, 5) == pytest.approx(2 / 32)
    assert metrics.macro_f1(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx(2 / 3)
    assert metrics.mcc(["a", "a"], ["a", "a"]) == 0.0


def test_bootstrap_interval_matches_the_normal_one_and_its_seed() -> None:
    expected = ["a"] * 400
    predicted = ["a"] * 300 + ["b"] * 100
    low, high = metrics.bootstrap_interval(metrics.accuracy, expected, predicted, seed=3)
    reach = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - reach, 0.75 + reach), abs=0.01)
    assert metrics.bootstrap_interval(metrics.accuracy, expected, predicted, seed=3) == (low, high)
    assert metrics.bootstrap_interval(metrics.accuracy, expected, predicted, seed=4) != (low, high)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.accuracy([], []),
        lambda: metrics.accuracy(["a"], ["a", "b"]),
        lambda: metrics.standard_error(0.5, 0),
        lambda: metrics.wilson_interval(5, 4),
        lambda: metrics.mcnemar_exact(-1, 2),
        lambda: metrics.confusion_matrix(["a"], ["z"], ["a"]),
    ],
)
def test_nonsense_is_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
