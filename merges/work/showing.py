"""What somebody may see of a merge: its recipe and report without the names of what they may not read."""

from __future__ import annotations

from typing import Any

from hub.accounts.actor import Actor
from hub.repos.models import Repo
from merges.models import Merge

HIDDEN = "private"


def recipe_for(actor: Actor, merge: Merge) -> dict[str, Any]:
    """The merge's recipe; an input, base or task that the actor may not read (any more) has no name and no commit."""
    hidden = _hidden(actor, merge)
    recipe = dict(merge.recipe)
    recipe["inputs"] = [_shown(entry, hidden) for entry in recipe.get("inputs", [])]
    if "base" in recipe:
        recipe["base"] = _shown(recipe["base"], hidden)
    if "select" in recipe:
        recipe["select"] = recipe["select"] | {"tasks": _without(recipe["select"]["tasks"], hidden)}
    return recipe


def report_for(actor: Actor, merge: Merge) -> dict[str, Any]:
    """The merge's report, with the same names left out."""
    cleaned: dict[str, Any] = _without(merge.report, _hidden(actor, merge))
    return cleaned


def _hidden(actor: Actor, merge: Merge) -> set[str]:
    """The names in the recipe that this actor may not read."""
    recipe = merge.recipe
    names = {name for entry in recipe.get("inputs", []) for name in _names(entry)} | set(_names(recipe.get("base", {})))
    models = {name for name in names if not Repo.objects.models().with_id(name).visible_to(actor).exists()}
    tasks = recipe.get("select", {}).get("tasks", [])
    return models | {name for name in tasks if not Repo.objects.tasks().with_id(name).visible_to(actor).exists()}


def _names(entry: dict[str, Any]) -> list[str]:
    return [entry[key] for key in ("adapter", "model") if key in entry]


def _shown(entry: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    key = "model" if "model" in entry else "adapter"
    return entry | {key: HIDDEN, "revision": None, "sha256": None} if entry.get(key) in hidden else entry


def _without(value: Any, hidden: set[str]) -> Any:
    """The same structure with every hidden name (also as a head file's name) replaced."""
    if not hidden:
        return value
    if isinstance(value, dict):
        return {_without(key, hidden): _without(item, hidden) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, hidden) for item in value]
    if isinstance(value, str):
        for name in hidden:
            value = value.replace(name, HIDDEN).replace(name.replace("/", "--"), HIDDEN)
    return value
