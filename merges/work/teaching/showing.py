"""What somebody may see of a teaching: its scores, and no name of a repo that they may not read."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from adapters.tasks.reading import split_name
from hub.accounts.actor import Actor
from hub.jobs.models import State
from hub.repos import trees
from hub.repos.models import Commit, Repo
from merges.models import Evaluation, EvaluationQuerySet, Origin, Teaching
from merges.work.evaluating import SPLIT, settings_key

HIDDEN = "a private specialist"
REPO = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


def shown_start(actor: Actor, row: Teaching) -> dict[str, Any]:
    """The start as decided; names the actor may not read (any more) are hidden wherever they stand."""
    shown = dict(row.start)
    named = {source["name"] for source in shown.get("sources") or []} | {str(shown.get("asked", ""))}
    for words in (str(shown.get("why", "")), *(trial["name"] for trial in shown.get("tried") or [])):
        named |= {name.rstrip(".") for name in REPO.findall(words)}
    hidden = [name for name in named if "/" in name and not _readable(actor, name)]
    return _without(shown, hidden) if hidden else shown  # type: ignore[no-any-return]


def _readable(actor: Actor, name: str) -> bool:
    return Repo.objects.models().with_id(name).visible_to(actor).exists()


def _without(value: Any, names: list[str]) -> Any:
    """The same value with names replaced in all its texts."""
    if isinstance(value, str):
        for name in names:
            value = value.replace(name, HIDDEN)
        return value
    if isinstance(value, dict):
        return {key: _without(item, names) for key, item in value.items()}
    return [_without(item, names) for item in value] if isinstance(value, list) else value


def score_of(row: Teaching) -> Evaluation | None:
    """What this hub measured of this teaching's result on its task, once there is a score."""
    return _asked_for(row, row.repo_id, row.result_sha).exclude(score=None).first()


def judging_of(row: Teaching) -> Evaluation | None:
    """The evaluation of this teaching's result on its task that still waits or runs."""
    waiting = _asked_for(row, row.repo_id, row.result_sha).filter(score=None)
    return waiting.filter(job__state__in=(State.QUEUED, State.RUNNING)).first()


def base_score_of(row: Teaching) -> Evaluation | None:
    """What this hub measured of the untaught base on the same task commit."""
    return _asked_for(row, row.base_id, row.base_sha).exclude(score=None).first()


def _asked_for(row: Teaching, subject: UUID | None, sha: str) -> EvaluationQuerySet:
    """The one evaluation that the job of this teaching asked for: not what others brought, nor of other settings."""
    return Evaluation.objects.filter(
        subject=subject, subject_sha=sha, task=row.task_id, task_sha=row.task_sha, split=SPLIT,
        origin=Origin.VERIFIED, settings_key=settings_key({}), seed=int(row.settings.get("seed", 0)),
    )  # fmt: skip


def before(actor: Actor, row: Teaching) -> Teaching | None:
    """The teaching whose revision this one followed, if the actor may see it."""
    earlier = Teaching.objects.visible_to(actor).filter(repo=row.repo_id, created_at__lt=row.created_at)
    return earlier.exclude(result_sha="").select_related("task__owner", "repo__owner").order_by("-created_at").first()


def change_since(earlier: Teaching, row: Teaching) -> float | None:
    """How much better the score is than that of an earlier teaching; None unless both were judged alike.

    Alike: on the same bytes of the same task's test split, by the same metric.
    """
    new, old = score_of(row), score_of(earlier)
    if new is None or old is None or new.score is None or old.score is None:
        return None
    alike = row.task_id == earlier.task_id and new.metric == old.metric and _tests(row) == _tests(earlier)
    return new.score - old.score if alike else None


def _tests(row: Teaching) -> dict[str, str]:
    """The files of the task's test split, {path: sha}."""
    files = trees.flatten(row.task, Commit.objects.get(repo=row.task_id, sha=row.task_sha).tree)
    return {path: sha for path, sha in files.items() if (split_name(path) or ("",))[0] == SPLIT}


def shown_comparison(actor: Actor, row: Teaching) -> dict[str, Any]:
    """The comparison as kept; the nearest specialist has no name where the actor may not read it (any more)."""
    nearest = str(row.comparison.get("nearest", ""))
    return row.comparison | {"nearest": ""} if nearest and not _readable(actor, nearest) else dict(row.comparison)
