"""The job of a merge: fetch what its owner may still read, choose λ on validation if asked, merge, publish."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.models import Lineage, Relation
from hub.jobs.running import Running
from hub.repos.models import Commit
from merges.models import Merge
from merges.recipes import Recipe, fingerprint, parse, to_dict
from merges.work import cards
from merges.work.choosing import judged_tasks, tune
from merges.work.discretion import Discretion, Progress, discretion_of
from merges.work.faults import told_faults
from merges.work.fetching import fetch
from merges.work.publishing import publish_folder
from merges.work.scratch import require_room, scratch_of
from merges.work.subjects import Pinned

_merged: list[Callable[[Merge], None]] = []


def register_merged(listener: Callable[[Merge], None]) -> None:
    """Tell a room of each merge that was published, inside its transaction."""
    _merged.append(listener)


def run(running: Running) -> dict[str, Any]:
    """Merge and publish. What was done before the worker was lost is used again. Raises JobFailed with a sentence."""
    merge = Merge.objects.select_related("repo__owner", "owner", "job").get(job=running.job)
    discretion = discretion_of(merge)
    with scratch_of(running) as scratch, told_faults(discretion), ExitStack() as done:
        progress = discretion.progress(running.progress)
        recipe = parse(merge.recipe)
        fetched = fetch(recipe, running.actor, scratch, progress, done)
        pinned, inputs, base = fetched.pinned, fetched.inputs, fetched.base
        require_room(recipe, inputs, base, scratch)
        chosen, trials = _tuned(recipe, pinned, inputs, base, running, scratch, progress)
        report = _merge(chosen, inputs, base, scratch, progress, discretion)
        output = scratch / "result"
        if chosen.declared.routed and chosen.select is not None and base is not None:
            report.manifest["router"] = _taught(chosen, pinned, inputs, base.folder, running, scratch, progress)
        said = discretion.recipe(chosen)
        (output / "README.md").write_text(cards.merge_card(merge, pinned, report, said, trials))
        head = _publish(running, merge, output, pinned, report, said, _for_the_row(chosen, said, trials))
    return {"commit": head.sha, "repo": merge.repo.full_name, "seconds": round(report.seconds, 3)}


def _for_the_row(chosen: Recipe, said: Recipe, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """What the Merge keeps beside the report's own words: the full recipe, which `showing` cuts for each reader."""
    named = {one.adapter: other.adapter for one, other in zip(said.inputs, chosen.inputs, strict=True) if one != other}
    more = {"trials": trials} if trials else {}
    return more | {"recipe": to_dict(chosen), "fingerprint": fingerprint(chosen), "aliases": named}


def _tuned(
    recipe: Recipe, pinned: list[Pinned], inputs: list[Any], base: Any, running: Running, scratch: Path,
    progress: Progress,
) -> tuple[Recipe, list[dict[str, Any]]]:  # fmt: skip
    """λ or weights chosen on the validation examples the recipe names; the recipe as it is where it names none."""
    if recipe.select is None or base is None:
        return recipe, []
    return tune(recipe, pinned, inputs, base.folder, running, scratch, progress)


def _merge(
    recipe: Recipe, inputs: list[Any], base: Any, scratch: Path, progress: Progress, discretion: Discretion
) -> Any:
    from merges.running import run as run_recipe

    output = scratch / "result"
    shutil.rmtree(output, ignore_errors=True)
    pieces = scratch / f"pieces-{_short(recipe)}"
    said = [replace(item, alias=alias) for item, alias in zip(inputs, discretion.inputs(recipe), strict=True)]
    return run_recipe(recipe, said, output, progress, base=base, scratch=pieces, written=discretion.recipe(recipe))


def _taught(
    recipe: Recipe, pinned: list[Pinned], inputs: list[Any], base: Path, running: Running, scratch: Path,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """The router taught on the validation examples of the recipe's tasks; what is said of it."""
    from merges.running.learning import RoutedTask, learn_router

    assert recipe.select is not None
    names: list[tuple[str, str | None]] = [(name, None) for name in recipe.select.tasks]
    tasks, _ = judged_tasks(names, pinned, inputs, running, scratch, recipe.select.examples, 0)
    routed = [RoutedTask(task.head, task.validation) for task in tasks]
    return learn_router(base, scratch / "result", routed, progress)


def _short(recipe: Recipe) -> str:
    return fingerprint(recipe)[:16]


def _publish(
    running: Running, merge: Merge, output: Path, pinned: list[Pinned], report: Any, said: Recipe,
    more: dict[str, Any],
) -> Commit:  # fmt: skip
    """Commit the result, with its lineage and report, in the one transaction that also fences the job."""

    def remember(made: Commit) -> None:
        Merge.objects.filter(pk=merge.pk).update(result_sha=made.sha, report=report.manifest | more)
        for item, entry in zip(pinned, merge.recipe["inputs"], strict=True):
            Lineage.objects.update_or_create(
                child=merge.repo, child_sha=made.sha, parent=item.repo, relation=Relation.MERGE_OF,
                defaults={"parent_sha": item.commit.sha, "weight": entry.get("weight", 1.0)},
            )  # fmt: skip
        for listener in _merged:
            listener(merge)

    message = f"Merge {', '.join(entry.adapter for entry in said.inputs)} by {said.method}"
    return publish_folder(running, merge.repo, output, message, remember)
