"""What somebody may see of a teaching: its start and trials without the names of repos they may not read."""

from __future__ import annotations

from typing import Any

from hub.accounts.actor import Actor
from hub.repos.models import Repo
from merges.models import Evaluation, Teaching

HIDDEN = "private"


def shown_start(actor: Actor, row: Teaching) -> dict[str, Any]:
    """The start as decided; names the actor may not read (any more) are hidden, also inside the reason."""
    names = {row.start.get("chosen"), row.start.get("asked"), *(trial["name"] for trial in row.start.get("tried", []))}
    asked = {name for name in names if name and "/" in name}
    readable = {
        repo.full_name
        for name in asked
        for repo in Repo.objects.models().with_id(name).visible_to(actor).select_related("owner")
    }
    hidden = asked - readable
    if not hidden:
        return dict(row.start)
    why = str(row.start.get("why", ""))
    for name in hidden:
        why = why.replace(name, "a private specialist")
    tried = [trial | {"name": HIDDEN} if trial["name"] in hidden else trial for trial in row.start.get("tried", [])]
    named = {key: HIDDEN if row.start.get(key) in hidden else row.start.get(key, "") for key in ("chosen", "asked")}
    return dict(row.start) | named | {"why": why, "tried": tried}


def score_of(row: Teaching) -> Evaluation | None:
    """The evaluation of this teaching's result on its task, once there is a score."""
    if not row.result_sha:
        return None
    found = Evaluation.objects.filter(subject=row.repo_id, subject_sha=row.result_sha, task=row.task_id)
    return found.exclude(score=None).order_by("-created_at").first()


def base_score_of(row: Teaching) -> Evaluation | None:
    """The evaluation of the untaught base on the same task commit."""
    found = Evaluation.objects.filter(
        subject=row.base_id, subject_sha=row.base_sha, task=row.task_id, task_sha=row.task_sha
    )
    return found.exclude(score=None).order_by("-created_at").first()


def before(actor: Actor, row: Teaching) -> Teaching | None:
    """The teaching whose revision this one followed, if the actor may see it."""
    earlier = Teaching.objects.visible_to(actor).filter(repo=row.repo_id, created_at__lt=row.created_at)
    return earlier.exclude(result_sha="").select_related("task__owner", "repo__owner").order_by("-created_at").first()
