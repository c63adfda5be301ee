"""A merge: linted and queued for a person, run by a worker, published as a commit of theirs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.db import transaction

from adapters.catalog import local
from adapters.models import Lineage, Relation
from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.record import record
from hub.jobs.queue import enqueue
from hub.jobs.running import Cancelled, JobFailed, Running
from hub.repos import lifecycle
from hub.repos.changes import Change, DeleteFolder, OnDisk, Put
from hub.repos.commits import Conflict, commit
from hub.repos.models import Commit, Kind, Repo
from hub.repos.trees import flatten
from hub.rights import Denied
from merges.models import Merge
from merges.recipes import Problem, Recipe, RecipeError, fingerprint, lint, parse, to_dict, to_yaml
from merges.work import cards
from merges.work.subjects import BadRequest, Pinned, facts_of, pin

TRIES_ON_A_MOVING_BRANCH = 5


def look_at(actor: Actor, raw: dict[str, Any] | str) -> tuple[Recipe, list[Pinned], list[Problem]]:
    """A recipe as asked for: parsed, inputs pinned, and what the linter says. Raises RecipeError, BadRequest."""
    recipe = parse(raw)
    pinned = [pin(entry.adapter, actor, kinds=(Kind.ADAPTER,), revision=entry.revision) for entry in recipe.inputs]
    return recipe, pinned, lint(recipe, [facts_of(item) for item in pinned])


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

    Inputs are pinned to their commits of now. The result is private if any input is.
    Raises RecipeError (everything that speaks against it), BadRequest, Denied, ValidationError.
    """
    recipe, pinned, problems = look_at(actor, raw)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise RecipeError(errors)
    if actor.account is None:
        raise Denied("Sign in first.")
    hidden = any(item.repo.private for item in pinned)
    with transaction.atomic():
        repo = _target(actor, target, private=True if hidden else private)
        if hidden and not repo.private:
            raise BadRequest(f"{repo.full_name} is public, but an input is private: choose a private repo.")
        full = to_dict(recipe) | {"inputs": _pinned_inputs(recipe, pinned)}
        job = enqueue(
            "merges.merge",
            title=f"Merge {len(pinned)} adapters by {recipe.declared.title} into {repo.full_name}",
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
        entry | {"adapter": item.name, "revision": item.commit.sha} for entry, item in zip(entries, pinned, strict=True)
    ]


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


def run(running: Running) -> dict[str, Any]:
    """The job: fetch the inputs as the owner may read them now, merge, publish. Raises JobFailed with a sentence."""
    from merges.running import LocalAdapter
    from merges.running import run as run_recipe

    merge = Merge.objects.select_related("repo__owner", "owner", "job").get(job=running.job)
    recipe, actor = parse(merge.recipe), running.actor
    with tempfile.TemporaryDirectory(prefix="tessera-merge-") as scratch:
        pinned, inputs = [], []
        for number, entry in enumerate(recipe.inputs):
            running.progress(0, 1, f"Fetching {entry.adapter}")
            item = _still_readable(entry.adapter, entry.revision, actor)
            folder = Path(scratch) / f"input-{number}"
            local.materialise(item.repo, item.commit, folder, _is_adapter_file)
            pinned.append(item)
            inputs.append(LocalAdapter(entry.adapter, folder))
        output = Path(scratch) / "result"
        try:
            report = run_recipe(recipe, inputs, output, running.progress)
        except RecipeError as error:
            raise JobFailed(str(error)) from error
        except _cancelled_type() as error:
            raise Cancelled from error
        (output / "README.md").write_text(cards.merge_card(merge, pinned, report))
        head = _publish(running, merge, actor, output, pinned, report)
    return {"commit": head.sha, "repo": merge.repo.full_name, "seconds": round(report.seconds, 3)}


def _cancelled_type() -> type[Exception]:
    from merges.running.report import Cancelled as MergeCancelled

    return MergeCancelled


def _is_adapter_file(path: str) -> bool:
    return path in ("adapter_config.json", "adapter_model.safetensors", "labels.json") or path.startswith("heads/")


def _still_readable(name: str, revision: str | None, actor: Actor) -> Pinned:
    try:
        return pin(name, actor, kinds=(Kind.ADAPTER,), revision=revision)
    except BadRequest as error:
        raise JobFailed(f"An input is no longer there for you: {error}") from error


def _publish(running: Running, merge: Merge, actor: Actor, output: Path, pinned: list[Pinned], report: Any) -> Commit:
    """Commit the result, with its lineage and report, in the one transaction that also fences the job."""
    files = sorted(path for path in output.rglob("*") if path.is_file())
    for attempt in range(TRIES_ON_A_MOVING_BRANCH):
        changes: list[Change] = [Put(str(path.relative_to(output)), OnDisk(path)) for path in files]
        head = Commit.objects.filter(repo=merge.repo, sha=merge.repo.head).first()
        if head and any(path.startswith("heads/") for path in flatten(merge.repo, head.tree)):
            changes.insert(0, DeleteFolder("heads"))
        try:
            with running.adopt():
                made = commit(
                    actor=actor, repo=merge.repo, changes_=changes,
                    message=f"Merge {', '.join(item.name for item in pinned)} by {merge.recipe['merge_method']}",
                )  # fmt: skip
                _remember(merge, made, pinned, report)
            return made
        except Conflict:
            if attempt == TRIES_ON_A_MOVING_BRANCH - 1:
                raise
        except Denied as error:
            raise JobFailed(str(error)) from error
    raise AssertionError("unreachable")


def _remember(merge: Merge, made: Commit, pinned: list[Pinned], report: Any) -> None:
    Merge.objects.filter(pk=merge.pk).update(result_sha=made.sha, report=report.manifest)
    for item, entry in zip(pinned, merge.recipe["inputs"], strict=True):
        Lineage.objects.update_or_create(
            child=merge.repo, child_sha=made.sha, parent=item.repo, relation=Relation.MERGE_OF,
            defaults={"parent_sha": item.commit.sha, "weight": entry.get("weight", 1.0)},
        )  # fmt: skip
