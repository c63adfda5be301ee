"""The job of a merge: fetch what its owner may still read, choose λ on validation if asked, merge, publish."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings

from adapters.models import Lineage, Relation
from hub.jobs.models import Job, State
from hub.jobs.running import Cancelled, JobFailed, LostLease, Running
from hub.repos import trees
from hub.repos.changes import Change, DeleteFolder, OnDisk, Put
from hub.repos.commits import Conflict, commit
from hub.repos.models import Commit
from hub.rights import Denied
from merges.models import Merge
from merges.recipes import Recipe, RecipeError, fingerprint, parse, to_dict
from merges.work import cards
from merges.work.discretion import Discretion, Progress, discretion_of
from merges.work.fetching import fetch
from merges.work.subjects import Pinned

TRIES_ON_A_MOVING_BRANCH = 5
STALE_SECONDS = 7 * 24 * 3600
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


@contextmanager
def scratch_of(running: Running) -> Iterator[Path]:
    """A folder of this job's own that outlives a killed worker, and is gone when the job ends for good."""
    root = Path(settings.STATE) / "merging"
    _sweep(root)
    folder = root / str(running.job.pk)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except LostLease:
        raise  # another worker has it now
    except (JobFailed, Cancelled):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what jobs left behind that ended long ago elsewhere."""
    for folder in root.glob("*-*-*-*-*"):
        if time.time() - folder.stat().st_mtime > STALE_SECONDS:
            alive = Job.objects.filter(pk=folder.name, state__in=(State.QUEUED, State.RUNNING)).exists()
            if not alive:
                shutil.rmtree(folder, ignore_errors=True)


def _for_the_row(chosen: Recipe, said: Recipe, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """What the Merge keeps beside the report's own words: the full recipe, which `showing` cuts for each reader."""
    named = {one.adapter: other.adapter for one, other in zip(said.inputs, chosen.inputs, strict=True) if one != other}
    more = {"trials": trials} if trials else {}
    return more | {"recipe": to_dict(chosen), "fingerprint": fingerprint(chosen), "aliases": named}


@contextmanager
def told_faults(discretion: Discretion | None = None) -> Iterator[None]:
    """What the pure rooms raise, as the job's end with a sentence that names nothing it must not."""
    from adapters.formats.errors import FormatError
    from adapters.runtime.errors import RuntimeFault
    from merges.running.report import Cancelled as MergeCancelled

    say = discretion.text if discretion else str
    try:
        yield
    except (RecipeError, RuntimeFault, FormatError, JobFailed) as error:
        raise JobFailed(say(str(error))) from error
    except MergeCancelled as error:
        raise (error.__cause__ if isinstance(error.__cause__, LostLease) else Cancelled()) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise JobFailed("The worker's disk is full. Ask the operator for room, or merge into an adapter.") from error


def require_room(recipe: Recipe, inputs: list[Any], base: Any, scratch: Path) -> None:
    """Raise JobFailed if the result cannot fit on the worker's disk."""
    wanted = sum(item.weights_bytes for item in inputs)
    if recipe.whole and base is not None:
        wanted = 2 * base.weights_bytes
    free = shutil.disk_usage(scratch).free
    if wanted > free:
        message = f"The result needs about {wanted / 1e9:.1f} GB, but the worker has {free / 1e9:.1f} GB free."
        raise JobFailed(f"{message} Ask the operator for room.")


def _tuned(
    recipe: Recipe, pinned: list[Pinned], inputs: list[Any], base: Any, running: Running, scratch: Path,
    progress: Progress,
) -> tuple[Recipe, list[dict[str, Any]]]:  # fmt: skip
    """λ or weights chosen on the validation examples the recipe names; the recipe as it is where it names none."""
    if recipe.select is None or base is None:
        return recipe, []
    from merges.work.comparing import tune

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
    from merges.work.comparing import judged_tasks

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


def publish_folder(
    running: Running, repo: Any, output: Path, message: str, remember: Callable[[Commit], None]
) -> Commit:
    """Commit a folder in the owner's name and, in the same fenced transaction, what is to be remembered of it."""
    files = sorted(path for path in output.rglob("*") if path.is_file())
    for attempt in range(TRIES_ON_A_MOVING_BRANCH):
        changes: list[Change] = [Put(str(path.relative_to(output)), OnDisk(path)) for path in files]
        head = Commit.objects.filter(repo=repo, sha=repo.head).first()
        if head and any(path.startswith("heads/") for path in trees.flatten(repo, head.tree)):
            changes.insert(0, DeleteFolder("heads"))
        try:
            with running.adopt():
                made = commit(actor=running.actor, repo=repo, changes_=changes, message=message)
                remember(made)
            return made
        except Conflict:
            if attempt == TRIES_ON_A_MOVING_BRANCH - 1:
                raise
        except Denied as error:
            raise JobFailed(str(error)) from error
    raise AssertionError("unreachable")
