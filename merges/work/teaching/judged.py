"""How the result of a teaching is judged, and what came of it: the one evaluation that its job asks for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from adapters.runtime.prompts import DEFAULT_TEMPLATE
from adapters.tasks.reading import split_name
from hub.jobs.models import State
from hub.repos import trees
from hub.repos.models import Commit
from merges.models import Evaluation, EvaluationQuerySet, Origin, Teaching
from merges.work.evaluating import SPLIT, settings_key


def judging_settings(row: Teaching) -> dict[str, Any]:
    """The evaluation settings that differ from the usual ones: a prompt of its own is part of what was taught.

    The length is the usual one, so that scores of one task can be compared.
    """
    template = str(row.settings.get("template") or DEFAULT_TEMPLATE)
    return {"template": template} if template != DEFAULT_TEMPLATE else {}


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
        origin=Origin.VERIFIED, settings_key=settings_key(judging_settings(row)), seed=int(row.settings.get("seed", 0)),
    )  # fmt: skip


def change_since(earlier: Teaching, row: Teaching) -> float | None:
    """How much better the score is than that of an earlier teaching; None unless both were judged alike.

    Alike: on the same bytes of the same task's test split, by the same metric and settings.
    """
    new, old = score_of(row), score_of(earlier)
    if new is None or old is None or new.score is None or old.score is None:
        return None
    how = [(one.task_id, one.metric, one.settings_key) for one in (new, old)]
    alike = how[0] == how[1] and _tests(row) == _tests(earlier)
    return new.score - old.score if alike else None


def _tests(row: Teaching) -> dict[str, str]:
    """The files of the task's test split, {path: sha}."""
    files = trees.flatten(row.task, Commit.objects.get(repo=row.task_id, sha=row.task_sha).tree)
    return {path: sha for path, sha in files.items() if (split_name(path) or ("",))[0] == SPLIT}
