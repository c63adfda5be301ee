"""Fewer rows than there are, without trusting their order: files are often sorted by label."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Labelled(Protocol):
    """Whatever carries a label."""

    @property
    def label(self) -> str: ...


Row = TypeVar("Row")
WithLabel = TypeVar("WithLabel", bound=Labelled)


def spread(rows: Sequence[WithLabel], most: int, seed: int = 0) -> list[WithLabel]:
    """At most `most` rows in which every label keeps its share as nearly as can be; in the order they had."""
    if len(rows) <= most:
        return list(rows)
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, not a secret
    by_label: dict[str, list[int]] = {}
    for row in order:
        by_label.setdefault(rows[row].label, []).append(row)
    # A label's rows stand evenly between 0 and 1, so the first part of the line holds each label's share.
    line = sorted(
        ((place + 0.5) / len(some), label, row) for label, some in by_label.items() for place, row in enumerate(some)
    )
    return [rows[row] for row in sorted(row for _, _, row in line[:most])]


def in_turn(rows: Sequence[WithLabel], most: int, seed: int = 0) -> list[WithLabel]:
    """At most `most` rows drawn from every label in turn, so that each is there as often as can be: few examples."""
    by_label: dict[str, list[WithLabel]] = {}
    for row in random.Random(seed).sample(rows, len(rows)):  # noqa: S311 - a sample
        by_label.setdefault(row.label, []).append(row)
    turns = max(map(len, by_label.values()), default=0)
    taken = [
        by_label[label][turn] for turn in range(turns) for label in sorted(by_label) if turn < len(by_label[label])
    ]
    return taken[:most]


def drawn(rows: Sequence[Row], most: int, seed: int = 0) -> list[Row]:
    """At most `most` rows drawn plainly at random, as for a test: in the order they had."""
    taken = random.Random(seed).sample(range(len(rows)), min(most, len(rows)))  # noqa: S311 - a sample
    return [rows[row] for row in sorted(taken)]
