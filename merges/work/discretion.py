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

from django.db.models import Q

from adapters.models import Lineage
from hub.accounts.actor import NOBODY, Actor
from hub.repos.models import Kind, Repo
from hub.rights import all_readers_know
from merges.models import Merge, Release
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
    return discretion_about(merge.repo, *_named_in(merge.recipe))


def discretion_about(result: Repo, models: Iterable[str] = (), tasks: Iterable[str] = ()) -> Discretion:
    """What of these names may not be said where `result` is read."""
    wanted = [*((name, False) for name in models), *((name, True) for name in tasks)]
    hidden = [name for name, task in dict.fromkeys(wanted) if not _may_be_said(result, name, task)]
    return Discretion({name: f"private-{number}" for number, name in enumerate(dict.fromkeys(hidden), start=1)})


def named_when_public(actor: Actor, repo: Repo) -> list[Repo]:
    """The repos not everybody may know of whose names come out when this one is made public; their content does not.

    Those are what any commit of it was made from, what the recipes of its merges name and, of a System, what its
    releases pin. Inputs that another owner kept to themself may have gone by an alias in its files; they are listed all
    the same. What the actor may not read is not named to them either, but for the base that the repo's own page names.
    """
    recipes = Merge.objects.filter(repo=repo).exclude(result_sha="").values_list("recipe", flat=True)
    manifests = Release.objects.filter(system=repo).values_list("manifest", flat=True)
    wanted = Q(pk__in=Lineage.objects.filter(child=repo).values("parent"))
    seen: set[tuple[str, bool]] = set()
    for models, tasks in [*map(_named_in, recipes), *map(_pinned_in, manifests)]:
        seen |= {(name, False) for name in models} | {(name, True) for name in tasks}
    for name, is_task in seen:
        owner, _, rest = name.partition("/")
        kind = Q(kind=Kind.TASK) if is_task else ~Q(kind=Kind.TASK)
        wanted |= Q(owner__name__iexact=owner, name__iexact=rest) & kind
    hidden = Repo.objects.filter(wanted).exclude(pk=repo.pk).exclude(pk__in=Repo.objects.known_to(NOBODY).values("pk"))
    readable = set(Repo.objects.visible_to(actor).filter(pk__in=hidden).values_list("pk", flat=True))
    rows = hidden.select_related("owner").order_by("owner__name", "name", "kind")
    return [row for row in rows if row.pk in readable or row.full_name == repo.facts.get("base")]


def _named_in(recipe: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The models and the tasks that a recipe names."""
    entries = [*recipe.get("inputs", []), *([recipe["base"]] if recipe.get("base") else [])]
    return [_name(entry) for entry in entries], list((recipe.get("select") or {}).get("tasks", []))


def _pinned_in(manifest: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The models and the tasks that a release of a System pins."""
    members = manifest.get("members", [])
    models = [manifest.get("base", {}).get("repo", ""), *(member["adapter"]["repo"] for member in members)]
    return models, [member["task"]["repo"] for member in members]


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("model") or entry.get("adapter"))


def _may_be_said(result: Repo, name: str, task: bool) -> bool:
    rows = Repo.objects.with_id(name)
    found = (rows.tasks() if task else rows.models()).select_related("owner").first()
    return found is not None and all_readers_know(result, found)
