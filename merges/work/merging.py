"""A merge as people ask for it: parsed, inputs pinned, linted, and queued. The work itself is in `merge_run`."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.record import record
from hub.jobs.queue import enqueue
from hub.repos import lifecycle
from hub.repos.models import Kind, Repo
from hub.rights import Denied
from merges.models import Merge
from merges.recipes import Problem, Recipe, RecipeError, fingerprint, lint, parse, to_dict, to_yaml
from merges.work.subjects import BadRequest, Pinned, base_of, merge_facts, pin


def look_at(actor: Actor, raw: dict[str, Any] | str) -> tuple[Recipe, list[Pinned], list[Problem]]:
    """A recipe as asked for: parsed, inputs pinned, and what the linter says. Raises RecipeError, BadRequest."""
    recipe = parse(raw)
    pinned = [
        pin(entry.adapter, actor, kinds=(Kind.BASE if entry.whole else Kind.ADAPTER,), revision=entry.revision)
        for entry in recipe.inputs
    ]
    return recipe, pinned, lint(recipe, [merge_facts(item) for item in pinned])


def linted(actor: Actor, raw: dict[str, Any] | str) -> dict[str, Any]:
    """What the linter says of a recipe: {ok, yaml (every default written out), problems}. Raises BadRequest."""
    try:
        recipe, _pinned, problems = look_at(actor, raw)
    except RecipeError as error:
        return {"ok": False, "yaml": None, "problems": error.problems}
    ok = all(problem.severity != "error" for problem in problems)
    return {"ok": ok, "yaml": to_yaml(recipe), "problems": problems}


def ask_for_merge(*, actor: Actor, raw: dict[str, Any] | str, target: str, private: bool | None = None) -> Merge:
    """Queue a merge whose result goes to the repo `target` (made if it is not there).

    Inputs are pinned to their commits of now. The result is private if any input, or the base it is made into, is.
    Raises RecipeError (everything that speaks against it), BadRequest, Denied, ValidationError.
    """
    recipe, pinned, problems = look_at(actor, raw)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise RecipeError(errors)
    if actor.account is None:
        raise Denied("Sign in first.")
    base = _ground(actor, recipe, pinned)
    grounds = {"base": {"model": base.name, "revision": base.commit.sha}} if base else {}
    for task in recipe.select.tasks if recipe.select else ():
        pin(task, actor, kinds=(Kind.TASK,))
    hidden = any(item.repo.private for item in (*pinned, *([base] if base else [])))
    with transaction.atomic():
        repo = _target(actor, target, private=True if hidden else private)
        if hidden and not repo.private:
            raise BadRequest(f"{repo.full_name} is public, but an input or the base is private: choose a private repo.")
        full = to_dict(recipe) | {"inputs": _pinned_inputs(recipe, pinned)} | grounds
        job = enqueue(
            "merges.merge",
            title=f"Merge {len(pinned)} {_noun(recipe)} by {recipe.declared.title} into {repo.full_name}",
            arguments={"recipe": full, "repo": str(repo.pk)},
            owner=actor.account,
            repo=repo,
        )
        merge = Merge.objects.create(
            owner=actor.account, repo=repo, recipe=full, fingerprint=fingerprint(parse(full)), job=job
        )
        record(actor.account, "ask_for_merge", repo=repo, job=str(job.pk), method=recipe.method)
    return merge


def _pinned_inputs(recipe: Recipe, pinned: list[Pinned]) -> list[dict[str, Any]]:
    entries = to_dict(recipe)["inputs"]
    return [
        entry | {"model" if "model" in entry else "adapter": item.name, "revision": item.commit.sha}
        for entry, item in zip(entries, pinned, strict=True)
    ]


def _ground(actor: Actor, recipe: Recipe, pinned: list[Pinned]) -> Pinned | None:
    """The base, pinned, for a recipe that reads it. Raises BadRequest if this hub does not have it."""
    if not recipe.whole and recipe.select is None:
        return None
    if recipe.base is not None:
        return pin(recipe.base.model, actor, kinds=(Kind.BASE,), revision=recipe.base.revision)
    return base_of(pinned[0], actor)


def _noun(recipe: Recipe) -> str:
    return "models" if any(entry.whole for entry in recipe.inputs) else "adapters"


def _target(actor: Actor, target: str, private: bool | None) -> Repo:
    """The repo the result goes to: a writable one, or a new one. Raises Denied, BadRequest, ValidationError."""
    owner_name, _, name = target.strip().partition("/")
    owner = Account.objects.filter(name__iexact=owner_name).first()
    if owner is None or not name:
        raise BadRequest("Say where the result goes as owner/name, with yourself or your organisation as owner.")
    repo = Repo.objects.models().with_id(target.strip()).visible_to(actor).select_related("owner").first()
    if repo is None:
        return lifecycle.create_repo(actor=actor, owner=owner, name=name, kind=Kind.ADAPTER, private=private)
    rights.require(actor, rights.Verb.WRITE, repo)
    return repo
