"""What the files, commits and notes of a merge may say: nothing its readers could not find out for themselves.

Whoever may read the result reads its recipe.yaml, card, report and heads, for ever. An input, base or task that some
of them may not read is called `private-1`, `private-2` … there; the full recipe stays with the Merge (see `showing`).
A base that adapters were made for stays named in adapter_config.json: nobody could load them without it. What has the
same owner as a private result is named in it; whoever makes that result public shows those names with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hub.repos.models import Repo
from hub.rights import all_readers_know
from merges.models import Merge
from merges.recipes import Recipe

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Discretion:
    """The names that must not be said, each with what is said instead."""

    aliases: Mapping[str, str]

    def name(self, name: str) -> str:
        """A name as it may be written."""
        return self.aliases.get(name, name)

    def text(self, text: str) -> str:
        """A sentence without those names."""
        for name, alias in self.aliases.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w/-]|\.\w)", alias, text)
        return text

    def progress(self, progress: Progress) -> Progress:
        """The same way to tell how far one is, without those names."""
        return lambda done, total, note: progress(done, total, self.text(note))

    def inputs(self, recipe: Recipe) -> list[str]:
        """What each input is called in the files: "" for one that goes by its own name."""
        seen: Counter[str] = Counter()
        result = []
        for entry in recipe.inputs:
            alias = self.aliases.get(entry.adapter, "")
            seen[alias] += 1
            result.append(f"{alias}-{seen[alias]}" if alias and seen[alias] > 1 else alias)
        return result

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe as files may hold it; nothing else than names, revisions and hashes is different."""
        inputs = tuple(
            replace(entry, adapter=alias, revision=None, sha256=None) if alias else entry
            for entry, alias in zip(recipe.inputs, self.inputs(recipe), strict=True)
        )
        base, select = recipe.base, recipe.select
        if base is not None and base.model in self.aliases:
            base = replace(base, model=self.name(base.model), revision=None) if recipe.whole else None
        if select is not None:
            select = replace(select, tasks=tuple(map(self.name, select.tasks)))
        return replace(recipe, inputs=inputs, base=base, select=select)


def discretion_of(merge: Merge) -> Discretion:
    """What may not be said where this merge's result is read. What cannot be found (any more) is not named either."""
    recipe = merge.recipe
    entries = [*recipe.get("inputs", []), *([recipe["base"]] if recipe.get("base") else [])]
    return discretion_about(merge.repo, map(_name, entries), (recipe.get("select") or {}).get("tasks", []))


def discretion_about(result: Repo, models: Iterable[str] = (), tasks: Iterable[str] = ()) -> Discretion:
    """What of these names may not be said where `result` is read."""
    wanted = [*((name, False) for name in models), *((name, True) for name in tasks)]
    hidden = [name for name, task in dict.fromkeys(wanted) if not _may_be_said(result, name, task)]
    return Discretion({name: f"private-{number}" for number, name in enumerate(dict.fromkeys(hidden), start=1)})


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("model") or entry.get("adapter"))


def _may_be_said(result: Repo, name: str, task: bool) -> bool:
    rows = Repo.objects.with_id(name)
    found = (rows.tasks() if task else rows.models()).select_related("owner").first()
    return found is not None and all_readers_know(result, found)
