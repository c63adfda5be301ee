"""A task repo as labelled examples, for measuring, tuning and comparing; the test split only where it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.catalog import local
from adapters.catalog.inspecting import is_split
from adapters.models import Lineage, Relation
from hub.accounts.actor import Actor
from hub.jobs.running import JobFailed
from hub.repos.cards import front_matter
from hub.repos.models import Kind
from merges.work.subjects import BadRequest, Pinned, pin


@dataclass(frozen=True)
class TaskExamples:
    """A task's labels in the card's order, and its splits in memory."""

    name: str
    labels: tuple[str, ...]
    splits: dict[str, list[Any]]

    def validation(self, most: int, seed: int = 0) -> tuple[list[Any], str]:
        """At most so many examples to choose on, and which split they are of; never the test split.

        Without a validation split they are drawn from train, which the specialists have seen: the report says so.
        """
        name = "validation" if self.splits.get("validation") else "train"
        return drawn(self.splits.get(name, []), most, seed), name

    def test(self, most: int, seed: int = 0) -> list[Any]:
        """At most so many test examples."""
        return drawn(self.splits.get("test", []), most, seed)


def load_task(pinned: Pinned, folder: Path) -> TaskExamples:
    """Fetch and read a task's splits. Raises JobFailed if nothing can be read."""
    from adapters.runtime.examples import Example
    from adapters.tasks.validation import validate

    files = local.materialise(pinned.repo, pinned.commit, folder, lambda path: is_split(path) or path == "README.md")
    card = files.pop("README.md", None)
    report = validate(front_matter(card.read_bytes()) if card else {}, files)
    splits = {
        name: [Example(line.text, line.label, line.text_pair) for line in rows] for name, rows in report.splits.items()
    }
    labels = report.facts.get("labels") or sorted({row.label for rows in splits.values() for row in rows})
    if not labels or not any(splits.values()):
        raise JobFailed(f"The task {pinned.name} has no labelled examples that can be read.")
    return TaskExamples(pinned.name, tuple(labels), splits)


def task_of(adapter: Pinned, actor: Actor) -> str | None:
    """The task an adapter says it was taught on, if this person may read it."""
    row = (
        Lineage.objects.filter(child=adapter.repo, relation=Relation.TAUGHT_ON)
        .select_related("parent__owner")
        .order_by("-pk")
    )
    for line in row:
        try:
            return pin(line.parent.full_name, actor, kinds=(Kind.TASK,)).name
        except BadRequest:
            continue
    return None


def taught_on(task: Pinned, inputs: list[Pinned]) -> Pinned | None:
    """The input that was taught on this task."""
    children = set(
        Lineage.objects.filter(parent=task.repo, relation=Relation.TAUGHT_ON).values_list("child_id", flat=True)
    )
    return next((item for item in inputs if item.repo.pk in children), None)


def drawn(rows: list[Any], most: int, seed: int) -> list[Any]:
    """At most so many rows, drawn without replacement, in their order; equal for equal seeds."""
    import numpy as np

    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng(seed).permutation(len(rows))[:most]
    return [rows[index] for index in sorted(chosen)]
