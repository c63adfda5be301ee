"""Scores of predicted against expected labels, and how sure one can be of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

Labels = Sequence[str] | np.ndarray
Metric = Callable[[np.ndarray, np.ndarray], float]


def accuracy(expected: Labels, predicted: Labels) -> float:
    """Share of items predicted right. Raises ValueError for no items or unequal lengths, as all scores here do."""
    right, given = _pair(expected, predicted)
    return float(np.mean(right == given))


TITLES = {"macro_f1": "Macro F1", "mcc": "Matthews correlation"}


def title(name: str) -> str:
    """A metric's name as pages write it."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def macro_f1(expected: Labels, predicted: Labels) -> float:
    """Mean over labels of 2 TP / (2 TP + FP + FN); labels are those that occur on either side."""
    counts = confusion_matrix(expected, predicted).astype(np.float64)
    hits = np.diag(counts)
    return float(np.mean(2 * hits / (counts.sum(0) + counts.sum(1))))


def mcc(expected: Labels, predicted: Labels) -> float:
    """Matthews correlation for any number of labels, from -1 to 1, 0 where undefined (Gorodkin 2004)."""
    counts = confusion_matrix(expected, predicted).astype(np.float64)
    n, hits, truth, guess = counts.sum(), np.trace(counts), counts.sum(1), counts.sum(0)
    spread = (n * n - guess @ guess) * (n * n - truth @ truth)
    return float((hits * n - truth @ guess) / math.sqrt(spread)) if spread > 0 else 0.0


def confusion_matrix(expected: Labels, predicted: Labels, labels: Labels | None = None) -> np.ndarray:
    """Counts of shape (labels, labels): row expected, column predicted, in the order given, else sorted.

    Raises ValueError for a label outside `labels`.
    """
    right, given = _pair(expected, predicted)
    names = sorted({*right.tolist(), *given.tolist()}) if labels is None else list(labels)
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    try:
        for truth, guess in zip(right.tolist(), given.tolist(), strict=True):
            counts[place[truth], place[guess]] += 1
    except KeyError as error:
        raise ValueError(f"The label {error.args[0]!r} is not among the labels of the matrix.") from error
    return counts


def standard_error(share: float, n: int) -> float:
    """Standard error sqrt(p (1 - p) / n) of a share p of n independent items. Raises ValueError for n < 1."""
    if n < 1 or not 0 <= share <= 1:
        raise ValueError("A standard error needs at least one item and a share between 0 and 1.")
    return math.sqrt(share * (1 - share) / n)


def wilson_interval(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a share of `right` among `n` items (Wilson 1927); sensible also at 0 and n, unlike p ± 2 SE."""
    if n < 1 or not 0 <= right <= n:
        raise ValueError("An interval needs at least one item, and no more right ones than there are.")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, scale = right / n, 1 + z * z / n
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def bootstrap_interval(
    metric: Metric,
    expected: Labels,
    predicted: Labels,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of any metric over items drawn with replacement (Efron 1979); equal for an equal seed."""
    right, given = _pair(expected, predicted)
    chance = np.random.default_rng(seed)
    values = [
        metric(right[rows], given[rows]) for rows in (chance.integers(0, len(right), len(right)) for _ in range(draws))
    ]
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p that two classifiers err alike, from the items that only one of them got right (McNemar 1947).

    Twice the binomial tail of the smaller count at one half, at most 1; 1 when they never differ.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError("Counts of items cannot be negative.")
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**n)) if n else 1.0


def _pair(expected: Labels, predicted: Labels) -> tuple[np.ndarray, np.ndarray]:
    right, given = np.asarray(expected), np.asarray(predicted)
    if right.ndim != 1 or right.shape != given.shape or not len(right):
        raise ValueError("Scores need as many predicted as expected labels, and at least one.")
    return right, given
