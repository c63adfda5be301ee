"""What every learner gives the loop, and how its rows are batched and weighed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch


class Learner(Protocol):
    """Gives the loop lengths to batch by, losses to descend and a score on validation."""

    lengths: list[int]

    def parts(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows of a batch in parts that fit into memory; their losses, weighed by size, sum to the batch's."""

    def loss(self, rows: Sequence[int]) -> torch.Tensor:
        """Mean loss of these training rows, with gradients."""

    def validate(self) -> tuple[float, float]:
        """(mean loss, accuracy) on the validation examples."""


def bucketed(lengths: Sequence[int], batch_size: int, chance: random.Random) -> Iterator[list[int]]:
    """All rows once, in random batches of rows alike in length, so that little is computed on padding."""
    order = list(range(len(lengths)))
    chance.shuffle(order)
    window = batch_size * 8
    batches = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda row: lengths[row])
        batches += [part[first : first + batch_size] for first in range(0, len(part), batch_size)]
    chance.shuffle(batches)
    yield from batches


def class_weights(targets: Sequence[int], classes: int, kind: str) -> torch.Tensor:
    """Weight of each class in the loss: n / (classes present * count) when balanced (absent: zero), else one."""
    if kind == "none":
        return torch.ones(classes)
    counts = Counter(targets)
    return torch.tensor([len(targets) / (len(counts) * counts[c]) if counts[c] else 0.0 for c in range(classes)])
