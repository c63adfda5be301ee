"""The examples as a task repo: made, extended by more examples, and read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from adapters.catalog.tasks import TaskRows, read_task
from adapters.formats.errors import FormatError
from adapters.tasks.reading import Split
from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.repos import lifecycle
from hub.repos.changes import Change, Inline, Put
from hub.repos.commits import commit
from hub.repos.models import Commit, Kind
from merges.models import Teaching
from merges.training.intake import Looked, Remark, look, part, read_examples, rows_of, to_jsonl
from merges.work.subjects import BadRequest, Pinned


class BadExamples(BadRequest):
    """Something in the examples forbids teaching; `problems` say what, by row."""

    def __init__(self, remarks: Sequence[Remark]) -> None:
        errors = [remark.message for remark in remarks if remark.severity == "error"]
        super().__init__(" ".join(errors) or "The examples cannot be used.")
        self.problems = list(remarks)


def rows_taught(row: Teaching) -> TaskRows:
    """The rows that a teaching is about: its task's at the commit it was asked for, as many as were to be used."""
    rows = read_task(row.task, Commit.objects.get(repo=row.task, sha=row.task_sha))
    return rows.few(row.at_most, int(row.settings.get("seed", 0)))


def look_at_examples(
    given: bytes | list[Any], filename: str = "", *, into: TaskRows | None = None, join: bool = False
) -> Looked:
    """What is to be said of examples before anything is kept: {rows, labels, remarks}.

    `into` is the task they will extend: its train rows are known, its test rows must not be among them.
    """
    try:
        split: Split = read_examples(given, filename) if isinstance(given, bytes) else rows_of(given)
    except FormatError as error:
        looked = Looked()
        looked.say(error.code, "error", error.message)
        return looked
    if into is None:
        return look(split, join=join)
    return look(split, test=into.split("test"), labels=into.labels, join=join, earlier=into.split("train"))


def keep_new(
    *, actor: Actor, owner: Account, name: str, looked: Looked, share: float, private: bool, license_name: str
) -> Pinned:
    """A task repo of these examples, a share of them held back to test on. Raises BadExamples, Denied, Exists."""
    if not looked.usable:
        raise BadExamples(looked.remarks)
    taught, tested = part(looked.rows, share)
    repo = lifecycle.create_repo(actor=actor, owner=owner, name=name, kind=Kind.TASK, private=private)
    labels = sorted(looked.labels)
    files = {"README.md": task_card(name, labels, len(taught), len(tested), license_name).encode()}
    files |= {"train.jsonl": to_jsonl(taught)} | ({"test.jsonl": to_jsonl(tested)} if tested else {})
    made = commit(actor=actor, repo=repo, changes_=_puts(files), message=f"Keep {len(looked.rows)} examples of {name}")
    return Pinned(repo, made)


def extend(*, actor: Actor, task: Pinned, known: TaskRows, looked: Looked) -> Pinned:
    """The same task with more to learn from; what it is tested on stays as it is. Raises BadExamples, Denied."""
    if not looked.usable:
        raise BadExamples(looked.remarks)
    rights.require(actor, rights.Verb.WRITE, task.repo)
    if not looked.rows:
        raise BadRequest("None of the examples is new: all are among those taught before, or are left out.")
    highest = max((row.number for row in known.split("train")), default=0)
    rows = [*known.split("train"), *(replace(row, number=highest + row.number) for row in looked.rows)]
    labels = list(dict.fromkeys([*known.labels, *sorted({row.label for row in rows})]))
    tested = known.split("test")
    text = task_card(task.repo.name, labels, len(rows), len(tested), str(task.repo.card.get("license", "other")))
    changes = _puts({"README.md": text.encode(), "train.jsonl": to_jsonl(rows)})
    made = commit(
        actor=actor,
        repo=task.repo,
        changes_=changes,
        message=f"Add {len(looked.rows)} examples",
        parent=task.commit.sha,
    )
    return Pinned(task.repo, made)


def task_card(name: str, labels: Sequence[str], taught: int, tested: int, license_name: str) -> str:
    """README.md of a task made of examples: what the hub needs to know, and how it came about."""
    front = {
        "type": "text-classification",
        "metric": "accuracy",
        "license": license_name,
        "labels": list(labels),
        "tags": ["examples"],
    }
    test = (
        f"{tested} examples are held back in `test.jsonl`; specialists are judged on them and never see them."
        if tested
        else "There were too few examples to hold some back; add `test.jsonl` to judge specialists on it."
    )
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n# {name}\n\n"
        f"{taught} examples to learn from, with {len(labels)} labels. {test}\n"
    )


def _puts(files: dict[str, bytes]) -> list[Change]:
    return [Put(path, Inline(data)) for path, data in files.items()]
