"""Asking for evaluations: once for the same bytes and settings, many at a time over one loaded base.

A row's `content_key` hashes everything that decides its numbers; a row of the same content elsewhere is copied, never
computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from django.db import transaction

from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.jobs.models import Job, State
from hub.jobs.queue import enqueue
from hub.repos import trees
from hub.repos.models import Commit, Kind, Repo
from hub.rights import Denied
from merges.evaluation.declared import EvaluationFault, EvaluationSettings
from merges.models import Evaluation, Origin, Suite
from merges.work.subjects import BadRequest, Pinned, base_of, pin

SPLIT = "test"
MOST_AT_ONCE = 200
CHOICES = ("template", "shots", "generate", "weigh", "most_tokens", "retention", "max_length", "batch_size", "lm_eval")
"""What of the settings may be asked for; the seed stands in its own column."""


@dataclass(frozen=True)
class Wanted:
    """One subject on one task, pinned, with its settings."""

    subject: Pinned
    base: Pinned
    task: Pinned
    seed: int
    settings: dict[str, Any]


def read_settings(asked: dict[str, Any] | None) -> dict[str, Any]:
    """The choices that differ from the usual settings. Raises BadRequest for what is unknown or out of range."""
    usual = EvaluationSettings()
    kinds = {field.name: type(getattr(usual, field.name)) for field in fields(usual)}
    chosen: dict[str, Any] = {}
    for name, value in (asked or {}).items():
        if name not in CHOICES:
            raise BadRequest(f"There is no setting '{name[:40]}'. There are {', '.join(CHOICES)}.")
        if type(value) is not kinds[name]:
            raise BadRequest(f"The setting {name} must be of the kind {kinds[name].__name__}.")
        if value != getattr(usual, name):
            chosen[name] = value
    try:
        EvaluationSettings(**chosen).check()
    except EvaluationFault as error:
        raise BadRequest(str(error)) from error
    return chosen


def settings_key(settings: dict[str, Any]) -> str:
    """A short name for settings; empty for the usual ones."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16] if settings else ""


def ask_for_evaluation(
    *,
    actor: Actor,
    subject: str,
    task: str,
    revision: str | None = None,
    task_revision: str | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    base: Pinned | None = None,
) -> Evaluation:
    """Queue the evaluation of an adapter, merge or base on a task's test split; the same bytes are judged once.

    `base` is for those who know it already: a commit's inspection, which says so, may still be waiting.
    Raises BadRequest (absent, no test split, unknown base or setting), Denied.
    """
    _require_writer(actor)
    on = _pinned_task(task, actor, task_revision)
    judged = pin(subject, actor, kinds=(Kind.ADAPTER, Kind.BASE), revision=revision)
    wanted = Wanted(judged, base or base_of(judged, actor), on, seed, read_settings(settings))
    return ask_for_all(actor=actor, wanted=[wanted])[0]


def ask_for_matrix(
    *,
    actor: Actor,
    subjects: Sequence[str],
    tasks: Sequence[str],
    seed: int = 0,
    settings: dict[str, Any] | None = None,
) -> list[Evaluation]:
    """Every subject on every task: one job for each base. Raises BadRequest, Denied."""
    _require_writer(actor)
    if not 0 < len(subjects) * len(tasks) <= MOST_AT_ONCE:
        raise BadRequest(f"Ask for 1 to {MOST_AT_ONCE} evaluations at a time.")
    on = [_pinned_task(task, actor, None) for task in tasks]
    judged = [pin(subject, actor, kinds=(Kind.ADAPTER, Kind.BASE)) for subject in subjects]
    chosen = read_settings(settings)
    wanted = [Wanted(one, base, task, seed, chosen) for one in judged for base in [base_of(one, actor)] for task in on]
    return ask_for_all(actor=actor, wanted=wanted)


def ask_for_suite(*, actor: Actor, suite: Suite, subject: str, revision: str | None = None) -> list[Evaluation]:
    """A subject on every task of a suite, at the suite's commits, by its protocols. Raises BadRequest, Denied."""
    _require_writer(actor)
    judged = pin(subject, actor, kinds=(Kind.ADAPTER, Kind.BASE), revision=revision)
    base = base_of(judged, actor)
    wanted = [
        Wanted(judged, base, pin(entry.task.full_name, actor, kinds=(Kind.TASK,), revision=entry.task_sha), 0,
               entry.settings)
        for entry in suite.entries.select_related("task__owner")
    ]  # fmt: skip
    return ask_for_all(actor=actor, wanted=wanted)


def ask_for_all(*, actor: Actor, wanted: Sequence[Wanted]) -> list[Evaluation]:
    """Rows for all that is wanted; what is not known yet is queued, one job for each base. Raises Denied."""
    _require_writer(actor)
    with transaction.atomic():
        rows = [row_for(actor, item) for item in wanted]
        waiting: dict[tuple[Any, str], list[Evaluation]] = {}
        for row in {row.pk: row for row in rows}.values():
            if row.score is None and (row.job is None or row.job.state in (State.FAILED, State.CANCELLED)):
                waiting.setdefault((row.base_id, row.base_sha), []).append(row)
        for group in waiting.values():
            _queue(actor, group)
    return rows


@transaction.atomic
def row_for(actor: Actor, wanted: Wanted) -> Evaluation:
    """The row of what is wanted, made if there is none, filled from the same content if that was judged before."""
    key = content_key(wanted)
    row, made = Evaluation.objects.select_for_update(of=("self",)).get_or_create(
        subject=wanted.subject.repo, subject_sha=wanted.subject.commit.sha, task=wanted.task.repo,
        task_sha=wanted.task.commit.sha, split=SPLIT, seed=wanted.seed, settings_key=settings_key(wanted.settings),
        origin=Origin.VERIFIED,
        defaults={
            "owner": actor.account, "base": wanted.base.repo, "base_sha": wanted.base.commit.sha, "content_key": key,
            "settings": wanted.settings,
        },
    )  # fmt: skip
    return _copied(row) if made else row


def _copied(row: Evaluation) -> Evaluation:
    known = Evaluation.objects.filter(content_key=row.content_key, origin=Origin.VERIFIED).exclude(score=None).first()
    if known is None:
        return row
    names = ("score", "standard_error", "low", "high", "n", "scores", "metric", "protocol", "device", "versions",
             "seconds", "items_id")  # fmt: skip
    for name in names:
        setattr(row, name, getattr(known, name))
    row.save(update_fields=list(names))
    return row


def content_key(wanted: Wanted) -> str:
    """A hash of all that decides the numbers: files of subject, base and task, settings and seed. Cards do not count
    for adapters and bases (a better description changes no score); a task's card does, it names the labels."""
    cards = ("README.md",)
    parts = [
        _files(wanted.subject, without=cards),
        _files(wanted.base, without=cards),
        _files(wanted.task),
        {"split": SPLIT, "seed": wanted.seed, "settings": wanted.settings},
    ]
    if any(path.startswith("heads/") for path, _sha in parts[0]):
        parts.append({"head_of": str(wanted.task.repo.pk)})  # which head a merge uses depends on the task's lineage
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(pinned: Pinned, without: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    files = trees.flatten(pinned.repo, pinned.commit.tree)
    return sorted((path, sha) for path, sha in files.items() if path not in without)


def _queue(actor: Actor, rows: list[Evaluation]) -> Job:
    subjects = {row.subject.full_name for row in rows}
    tasks = {shown_task(row.task) for row in rows}
    subject = subjects.pop() if len(subjects) == 1 else f"{len(subjects)} adapters"
    task = tasks.pop() if len(tasks) == 1 else f"{len(tasks)} tasks"
    one = rows[0].subject if len({row.subject_id for row in rows}) == 1 else None
    job = enqueue(
        "merges.evaluate",
        title=f"Evaluate {subject} on {task}",
        arguments={"evaluations": [row.pk for row in rows]},
        owner=actor.account,
        repo=one,
    )
    for row in rows:
        row.job = job
        row.save(update_fields=["job"])
        record(actor.account, "ask_for_evaluation", repo=row.subject, task=shown_task(row.task), job=str(job.pk))
    return job


def shown_task(task: Repo) -> str:
    """A task's name where everybody who may read the subject can see it: in the job's title and in the activity."""
    return "a private task" if task.private else task.full_name


def has_test_split(repo: Repo, commit: Commit) -> bool:
    """Is there anything to judge on at this commit?"""
    from adapters.tasks.reading import split_name

    names = [split_name(path) for path in trees.flatten(repo, commit.tree)]
    return any(name is not None and name[0] == SPLIT for name in names)


def _pinned_task(name: str, actor: Actor, revision: str | None) -> Pinned:
    on = pin(name, actor, kinds=(Kind.TASK,), revision=revision)
    if not has_test_split(on.repo, on.commit):
        raise BadRequest(f"{on.name} has no test split at this revision: add test.jsonl, test.csv or test.parquet.")
    return on


def _require_writer(actor: Actor) -> None:
    if not actor.may_write or actor.account is None:
        raise Denied("Sign in (or use a token with the write scope) to ask for an evaluation.")
