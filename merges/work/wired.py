"""Scores as the Hub's client asks for them: a task's leaderboard, and a model's newest score on each task."""

from __future__ import annotations

from hub.accounts.actor import Actor
from hub.repos.models import Repo
from hub.wire.measured import Score
from merges.models import Evaluation, Origin
from merges.work import leaderboards
from merges.work.leaderboards import BoardFilters

MOST = 500


def board(actor: Actor, task: Repo, bases_only: bool) -> list[Score]:
    """The first `MOST` lines of the task's leaderboard, whose ranks are those among all."""
    entries = [
        entry
        for entry in leaderboards.task_board(actor, task, BoardFilters())[:MOST]
        if not bases_only or entry.kind == "base"
    ]
    rows = Evaluation.objects.select_related("subject__owner").in_bulk([entry.key for entry in entries])
    return [
        _score(rows[entry.key], task, rows[entry.key].subject, entry.rank) for entry in entries if entry.key in rows
    ]


def results(actor: Actor, subject: Repo) -> list[Score]:
    """The newest score on each task and setting: what was measured here before what others say."""
    rows = (
        Evaluation.objects.visible_to(actor).filter(subject=subject).exclude(score=None).select_related("task__owner")
    )
    rows = rows.order_by("task_id", "metric", "settings_key", leaderboards.origin_order(), "-created_at")
    newest = rows.distinct("task_id", "metric", "settings_key")[:MOST]
    return [_score(row, row.task, subject) for row in newest]


def _score(row: Evaluation, task: Repo, subject: Repo, rank: int = 0) -> Score:
    assert row.score is not None
    notes = f"{row.n} items of the {row.split} split, at {row.subject_sha[:7]}"
    if row.low is not None and row.high is not None:
        notes += f", 95 % interval {row.low:.4g} to {row.high:.4g}"
    return Score(
        subject=subject,
        task=task,
        task_sha=row.task_sha,
        metric=row.metric,
        value=row.score,
        verified=row.origin == Origin.VERIFIED,
        at=row.created_at,
        notes=f"{notes}, {row.protocol}" if row.protocol else notes,
        path=f"/evaluations/{row.pk}",
        rank=rank,
    )
