"""A task's examples for measuring, tuning and comparing, and which specialists were taught on it."""

from __future__ import annotations

from adapters.catalog.tasks import TaskRows, read_task
from adapters.models import Lineage, Relation
from adapters.runtime.examples import Example
from adapters.tasks.sampling import drawn
from hub.accounts.actor import Actor
from hub.jobs.running import JobFailed
from hub.repos.models import Kind
from merges.work.subjects import BadRequest, Pinned, pin


def load_task(pinned: Pinned) -> TaskRows:
    """A task's rows, of which there are some. Raises JobFailed."""
    rows = read_task(pinned.repo, pinned.commit)
    if not rows.labels or not any(rows.splits.values()):
        raise JobFailed(f"The task {pinned.name} has no labelled examples that can be read.")
    return rows


def to_choose_on(rows: TaskRows, most: int, seed: int = 0) -> tuple[list[Example], str]:
    """At most so many examples to choose on, and which split they are of; never the test split.

    Without a validation split they are drawn from train, which the specialists have seen: the report says so.
    """
    name = "validation" if rows.split("validation") else "train"
    return drawn(rows.examples(name), most, seed), name


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
