"""How long to train when there is no validation: k-fold, every example held back once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean

from adapters.runtime.examples import Example
from merges.training.settings import CurvePoint


def stratified(labels: Sequence[str], folds: int, seed: int) -> list[list[int]]:
    """Row numbers of each fold, every label spread as evenly as can be (Kohavi 1995); none is empty."""
    chance = random.Random(seed)  # noqa: S311 - an order, not a secret
    by_label: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        by_label.setdefault(label, []).append(row)
    parts: list[list[int]] = [[] for _ in range(folds)]
    place = 0
    for label in sorted(by_label):
        rows = by_label[label]
        chance.shuffle(rows)
        for row in rows:
            parts[place % folds].append(row)
            place += 1
    return [sorted(part) for part in parts if part]


def usable_folds(labels: Sequence[str], wanted: int) -> int:
    """How many folds these examples allow: none if most labels occur once, else at most the commonest label's count."""
    counts = sorted((labels.count(label) for label in set(labels)), reverse=True)
    if wanted < 2 or len(labels) < 8 or counts[len(counts) // 2] < 2:
        return 0
    return min(wanted, counts[0])


def parted(examples: Sequence[Example], held_back: Sequence[int]) -> tuple[list[Example], list[Example]]:
    """(taught, held back) of one fold."""
    back = set(held_back)
    taught = [row for number, row in enumerate(examples) if number not in back]
    return taught, [examples[number] for number in held_back]


def best_length(curves: Sequence[Sequence[CurvePoint]], sizes: Sequence[int], epochs: int) -> int:
    """How many of `epochs` to train, from folds of these sizes; 0 where training made what was there before it worse.

    Where every fold walked all epochs it is all of them: half way down the rate is still high, and what is best there
    is best by chance. None it is where the start was judged and found more by more than chance, for a fold is taught
    from fewer examples than there are: on five tasks with 32 where folds were for the start, training to the end found
    0 to 7 points more of the test. Where folds were stopped, each keeps its last loss, and the epoch of the lowest mean
    is taken.
    """
    longest, first = max(curve[-1].epoch for curve in curves), curves[0][0].epoch
    if all(curve[-1].epoch == epochs for curve in curves):
        begun, taught = (right_in_folds(curves, sizes, epoch) for epoch in (0, epochs))
        return 0 if first == 0 and beyond_chance(begun, taught, sum(sizes)) else epochs

    def loss(epoch: int) -> float:
        return fmean(_after(curve, epoch).validation_loss or 0.0 for curve in curves)

    return min(range(first, longest + 1), key=loss)


def beyond_chance(one: int, other: int, n: int) -> bool:
    """Is `one` of n right answers ahead of `other` of n by more than two standard errors of their difference?"""
    share = (one + other) / (2 * n)
    return one - other > 2.0 * (2 * n * share * (1 - share)) ** 0.5


def right_in_folds(curves: Sequence[Sequence[CurvePoint]], sizes: Sequence[int], epochs: int) -> int:
    """How many held-back examples were right after so many epochs, over all folds."""
    found = 0
    for curve, size in zip(curves, sizes, strict=True):
        found += round((_after(curve, epochs).validation_accuracy or 0.0) * size)
    return found


def _after(curve: Sequence[CurvePoint], epoch: int) -> CurvePoint:
    """The point of that epoch, or the last one before it."""
    return max((point for point in curve if point.epoch <= epoch), key=lambda point: point.epoch, default=curve[0])
