"""Fewer rows than there are, without trusting their order: files are often sorted by label."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from adapters.runtime.examples import Example

Row = TypeVar("Row")


def spread(rows: Sequence[Example], most: int, seed: int = 0) -> list[Example]:
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


def drawn(rows: Sequence[Row], most: int, seed: int = 0) -> list[Row]:
    """At most `most` rows drawn plainly at random, as for a test: in the order they had."""
    taken = random.Random(seed).sample(range(len(rows)), min(most, len(rows)))  # noqa: S311 - a sample
    return [rows[row] for row in sorted(taken)]
