"""What somebody may see of a merge: its recipe without the names of inputs they may not read."""

from __future__ import annotations

from typing import Any

from hub.accounts.actor import Actor
from hub.repos.models import Repo
from merges.models import Merge

HIDDEN = "private"


def recipe_for(actor: Actor, merge: Merge) -> dict[str, Any]:
    """The merge's recipe; an input that the actor may not read (any more) has neither name nor commit."""
    inputs = merge.recipe.get("inputs", [])
    return merge.recipe | {"inputs": [_shown(actor, entry) for entry in inputs]}  # type: ignore[no-any-return]


def _shown(actor: Actor, entry: dict[str, Any]) -> dict[str, Any]:
    key = "model" if "model" in entry else "adapter"
    if Repo.objects.models().with_id(entry[key]).visible_to(actor).exists():
        return entry
    return entry | {key: HIDDEN, "revision": None, "sha256": None}
