"""A task repo at one commit: its splits in memory, with the labels and the metric of its card."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.catalog import local
from adapters.runtime.examples import Example
from adapters.tasks.reading import Row, split_name
from adapters.tasks.sampling import in_turn
from adapters.tasks.validation import TaskReport, validate
from hub.repos.cards import front_matter
from hub.repos.models import Commit, Repo


@dataclass(frozen=True)
class TaskRows:
    """The usable rows of each split, with the labels in their order and the metric."""

    labels: tuple[str, ...]
    metric: str
    splits: Mapping[str, list[Row]]

    def split(self, name: str) -> list[Row]:
        """The rows of one split; empty when it is not there."""
        return self.splits.get(name, [])

    def examples(self, name: str) -> list[Example]:
        """The rows of one split as models are taught and judged with them."""
        return [Example(row.text, row.label, row.text_pair) for row in self.split(name)]

    def few(self, at_most: int, seed: int) -> TaskRows:
        """The same task with at most so many train rows, drawn from every label in turn by the seed; 0 keeps all."""
        if not 0 < at_most < len(self.split("train")):
            return self
        return replace(self, splits={**self.splits, "train": in_turn(self.split("train"), at_most, seed)})


def read_task(repo: Repo, commit: Commit) -> TaskRows:
    """Every usable row of a task; labels are the card's, else those that occur."""
    report = report_on(repo, commit)
    labels = report.facts.get("labels") or sorted({row.label for rows in report.splits.values() for row in rows})
    return TaskRows(tuple(labels), report.facts.get("metric") or "accuracy", report.splits)


def report_on(repo: Repo, commit: Commit) -> TaskReport:
    """What there is to say of a task's card and splits; its rows too. Raises WrongBytes, StoreError."""
    with tempfile.TemporaryDirectory(prefix="tessera-task-") as folder:
        files = local.materialise(repo, commit, Path(folder), lambda path: is_split(path) or path == "README.md")
        card = files.pop("README.md", None)
        return validate(front_matter(card.read_bytes()) if card else {}, files)


def is_split(path: str) -> bool:
    """Is this a task's train, validation or test file, by its name?"""
    return split_name(path) is not None
