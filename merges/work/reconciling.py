"""Tensor-level merges of change requests: a preview with numbers, and the merge itself, both as jobs.

`ours` is the target, `theirs` what is proposed, `original` the commit both began with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction

from adapters.catalog import local
from adapters.catalog.weights import CONFIG, INDEX, in_folder
from hub.accounts.actor import Actor
from hub.jobs.models import Job, State
from hub.jobs.queue import enqueue
from hub.repos import trees
from hub.repos.models import Commit, Kind
from hub.review import change_requests, merging
from hub.review.models import ChangeRequest
from hub.review.refusals import NotPossible
from hub.rights import Denied
from merges.methods.declaration import Statistic
from merges.running.sidecars import FOLDER as STATISTICS
from merges.threeway import MEASURED, Rule, RuleError, needed, parse_rules
from merges.work.subjects import BadRequest

SIDES = ("ours", "theirs")


@dataclass(frozen=True)
class Conflict:
    """The three commits of a change request whose files are in conflict, and those paths."""

    request: ChangeRequest
    original: Commit
    ours: Commit
    theirs: Commit
    paths: tuple[str, ...]

    @property
    def folders(self) -> list[str]:
        """Folders whose weights are in conflict."""
        suffixes = (local.WEIGHTS, CONFIG, INDEX)
        folders = {path.rpartition("/")[0] for path in self.paths if path.endswith(suffixes)}
        return sorted(folder for folder in folders if folder.rpartition("/")[2] != STATISTICS)

    @property
    def others(self) -> list[str]:
        """Conflicting files of which a rule takes one side: those that do not follow from weights in conflict."""
        return [path for path in self.paths if not self._follows(path)]

    def _follows(self, path: str) -> bool:
        """Weights and their index are merged; statistics beside them are dropped, being of neither side's any more."""
        folder = path.rpartition("/")[0]
        if folder.rpartition("/")[2] == STATISTICS:
            return folder.removesuffix(STATISTICS).rstrip("/") in self.folders
        return path.endswith((local.WEIGHTS, INDEX))

    @property
    def key(self) -> str:
        """One preview for each pair of heads."""
        return f"threeway:{self.request.pk}:{self.ours.sha}:{self.theirs.sha}"


def conflict_of(request: ChangeRequest) -> Conflict | None:
    """What is in conflict, None if nothing is."""
    paths = merging.conflicts(request)
    if not paths:
        return None
    repo = request.repo
    return Conflict(
        request,
        trees.resolve_commit(repo, request.base),
        trees.resolve_commit(repo, request.target),
        trees.resolve_commit(repo, request.ref),
        tuple(paths),
    )


def ask_for_preview(actor: Actor, conflict: Conflict) -> Job | None:
    """The job that looks at both sides; queued for known people, once for each pair of heads."""
    if not conflict.folders:
        return None
    if not actor.is_known:
        return Job.objects.filter(key=conflict.key).first()
    return enqueue(
        "merges.threeway.preview",
        title=f"Look at both sides of change request #{conflict.request.number} of {conflict.request.repo.full_name}",
        arguments=_arguments(conflict), owner=actor.account, repo=conflict.request.repo, key=conflict.key,
    )  # fmt: skip


def ask_for_merge(actor: Actor, request: ChangeRequest, raw_rules: Any) -> Job:
    """Queue the merge of a change request's target into it. Raises Denied, NotPossible, BadRequest."""
    if not change_requests.may_steer(actor, request):
        raise Denied("Only its author, the repo's writers and maintainers may bring it up to date.")
    conflict = conflict_of(request)
    if conflict is None:
        raise NotPossible("No file is in conflict: merge it as it is.")
    rules = _rules(raw_rules)
    if missing := needed(rules) - set(measured(conflict)):
        raise BadRequest(
            f"Both sides need {', '.join(sorted(missing))} statistics beside their weights for this. Publish them "
            "from /merge/statistics, or choose another strategy."
        )
    unfinished = (State.QUEUED, State.RUNNING)
    if Job.objects.filter(kind="merges.threeway.merge", state__in=unfinished, arguments__request=request.pk).exists():
        raise NotPossible("A merge of this change request is running already.")
    with transaction.atomic():
        return enqueue(
            "merges.threeway.merge",
            title=f"Bring change request #{request.number} of {request.repo.full_name} up to date",
            arguments=_arguments(conflict) | {"rules": [asdict(rule) for rule in rules]},
            owner=actor.account, repo=request.repo,
        )  # fmt: skip


def _arguments(conflict: Conflict) -> dict[str, Any]:
    shas = {"original": conflict.original.sha, "ours": conflict.ours.sha, "theirs": conflict.theirs.sha}
    return {"request": conflict.request.pk, **shas, "paths": list(conflict.paths)}


def _rules(raw: Any) -> list[Rule]:
    try:
        return parse_rules(raw)
    except RuleError as error:
        raise BadRequest(str(error)) from error


def measured(conflict: Conflict) -> list[Statistic]:
    """The statistics that both sides have beside the weights in conflict."""
    paths = [set(trees.flatten(conflict.request.repo, side.tree)) for side in (conflict.ours, conflict.theirs)]
    return [
        kind for kind in MEASURED
        if all(in_folder(folder, f"{STATISTICS}/{kind}{local.WEIGHTS}") in known
               for known in paths for folder in conflict.folders)
    ]  # fmt: skip


def as_recipe(conflict: Conflict) -> dict[str, Any]:
    """Both sides as a merge recipe pinned to their commits, to be taken further in the merge lab."""
    repo = conflict.request.repo
    key = "model" if repo.kind == Kind.BASE else "adapter"
    inputs = [{key: repo.full_name, "revision": side.sha, "weight": 1.0} for side in (conflict.ours, conflict.theirs)]
    if repo.kind == Kind.BASE:
        base = {"model": repo.full_name, "revision": conflict.original.sha}
        return {"merge_method": "task_arithmetic", "base": base, "inputs": inputs, "parameters": {"lambda": 0.5}}
    return {"merge_method": "mean", "inputs": inputs, "output": {"heads": "mean"}}
