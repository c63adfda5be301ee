"""What somebody may see of a teaching: no name of a repo that they may not read."""

from __future__ import annotations

import re
from typing import Any

from hub.accounts.actor import Actor
from hub.repos.models import Repo
from merges.models import Teaching

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


def before(actor: Actor, row: Teaching) -> Teaching | None:
    """The teaching whose revision this one followed, if the actor may see it."""
    earlier = Teaching.objects.visible_to(actor).filter(repo=row.repo_id, created_at__lt=row.created_at)
    return earlier.exclude(result_sha="").select_related("task__owner", "repo__owner").order_by("-created_at").first()


def shown_comparison(actor: Actor, row: Teaching) -> dict[str, Any]:
    """The comparison as kept; the nearest specialist has no name where the actor may not read it (any more)."""
    nearest = str(row.comparison.get("nearest", ""))
    return row.comparison | {"nearest": ""} if nearest and not _readable(actor, nearest) else dict(row.comparison)
