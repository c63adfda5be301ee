"""Two subjects on the same items: which is better, by how much, and whether chance explains it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from merges.evaluation.metrics import mcnemar_exact


@dataclass(frozen=True)
class Pairing:
    """First against second: items only one got right, the difference of their accuracies and its uncertainty."""

    wins: int
    losses: int
    ties: int
    difference: float
    standard_error: float
    low: float
    high: float
    p: float

    @property
    def n(self) -> int:
        """How many items both were judged on."""
        return self.wins + self.losses + self.ties

    @property
    def is_worse(self) -> bool:
        """Worse by more than chance explains (McNemar's exact p below 5 %)."""
        return self.losses > self.wins and self.p < 0.05


def pair(
    first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray, *, draws: int = 2000, seed: int = 0
) -> Pairing:
    """Compare item by item. `first` and `second` say which items each got right, in the same order.

    The standard error is that of a mean of paired differences, sqrt(((b + c) - (b - c)²/n) / (n (n - 1))) with b and c
    the items only one got right; the 95 % interval is a percentile bootstrap over items (Efron 1979); p is McNemar's
    exact one (1947). Raises ValueError for no items or unequal lengths.
    """
    left, right = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if left.shape != right.shape or left.ndim != 1 or not len(left):
        raise ValueError("Pairs need the same items on both sides, and at least one.")
    n = len(left)
    gaps = left.astype(np.int8) - right.astype(np.int8)
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    difference = (wins - losses) / n
    spread = (wins + losses) - (wins - losses) ** 2 / n
    error = math.sqrt(max(spread, 0.0) / (n * (n - 1))) if n > 1 else 0.0
    chance = np.random.default_rng(seed)
    # only three values occur: drawing n items with replacement is a multinomial draw of their counts
    counts = chance.multinomial(n, [wins / n, losses / n, 1 - (wins + losses) / n], size=draws)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [0.025, 0.975])
    return Pairing(
        wins, losses, n - wins - losses, difference, error, float(low), float(high), mcnemar_exact(wins, losses)
    )


def progress(base: float, specialist: float, merged: float, base_error: float, specialist_error: float) -> float | None:
    """(merged - base) / (specialist - base); None where specialist and base differ by less than 2 standard errors."""
    gap = specialist - base
    return (merged - base) / gap if abs(gap) >= 2 * math.hypot(base_error, specialist_error) and gap else None
