"""Tensor-level merges of change requests: a preview with numbers, and the merge itself, both as jobs.

`ours` is the target, `theirs` what is proposed, `original` the commit both began with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.db import transaction

from adapters.catalog import local, manifests
from adapters.catalog import weights as weights_of
from adapters.catalog.weights import CONFIG, Weights
from adapters.diffs import Side
from adapters.formats.errors import FormatError
from adapters.formats.peft_config import PeftConfig, parse_config
from hub.accounts.actor import Actor
from hub.jobs.models import Job, State
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos import trees
from hub.repos.changes import Content, Inline, OnDisk
from hub.repos.models import Commit
from hub.review import change_requests
from hub.review.models import ChangeRequest
from hub.review.refusals import MergeConflict, NotPossible
from hub.review.updating import bring_up_to_date
from hub.rights import Denied
from merges.threeway import Rule, RuleError, opened, parse_rules, write
from merges.threeway.rules import TAKE, rule_for
from merges.work.subjects import BadRequest

MOST_SHOWN = 2000


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
        suffixes = (local.WEIGHTS, CONFIG)
        return sorted({path.rpartition("/")[0] for path in self.paths if path.endswith(suffixes)})

    @property
    def others(self) -> list[str]:
        """Conflicting files that are no weights: a rule takes one side of each."""
        return [path for path in self.paths if not path.endswith(local.WEIGHTS)]

    @property
    def key(self) -> str:
        """One preview for each pair of heads."""
        return f"threeway:{self.request.pk}:{self.ours.sha}:{self.theirs.sha}"


def conflict_of(request: ChangeRequest) -> Conflict | None:
    """What is in conflict, None if nothing is."""
    paths = change_requests.conflicts(request)
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


def preview(running: Running) -> dict[str, Any]:
    """The job: who changed what in each folder of weights, and how the changes lie to each other."""
    conflict = _conflict(running)
    folders = {}
    for folder in conflict.folders:
        with ExitStack() as files:
            three, _weights = _opened(conflict, folder, running, files)
            found = three.preview(running.progress)
            found["shown"], found["conflicts"] = len(found["conflicts"]), found["conflicts"][:MOST_SHOWN]
            folders[folder] = found
    return {"folders": folders}


def run(running: Running) -> dict[str, Any]:
    """The job: merge the weights by the rules, take a side of other files, commit to the change request's ref."""
    conflict, actor = _conflict(running), running.actor
    rules = parse_rules(running.arguments["rules"])
    resolved: dict[str, Content | None] = {path: _side_of(conflict, path, rules) for path in conflict.others}
    reports: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tessera-threeway-") as scratch, ExitStack() as files:
        for number, folder in enumerate(conflict.folders):
            three, weights = _opened(conflict, folder, running, files)
            place = Path(scratch) / str(number)
            place.mkdir()
            config = _config(conflict, folder, resolved)
            try:
                written, result = write(three, rules, _layout(weights), place, config, running.progress)
            except (RuleError, FormatError) as error:
                raise JobFailed(str(error)) from error
            resolved |= {path: OnDisk(file) for path, file in written.items()}
            resolved |= {path: None for path in conflict.paths if _is_in(path, folder) and path not in resolved}
            reports[folder] = {"decisions": result.decisions, "taken": result.taken}
        made = _publish(running, conflict, actor, resolved, _message(conflict, rules, reports))
    for report in reports.values():
        report["decisions"] = report["decisions"][:MOST_SHOWN]
    return {"commit": made.sha, "folders": reports}


def _message(conflict: Conflict, rules: Sequence[Rule], reports: dict[str, Any]) -> str:
    """What the commit says of itself: the rules, how much each side decided alone, and what was lost."""
    taken = [report["taken"] for report in reports.values()]
    alone = {side: sum(counts.get(side, 0) for counts in taken) for side in ("ours", "theirs")}
    decisions = [decision for report in reports.values() for decision in report["decisions"]]
    lost = max((decision.get("truncation_error") or 0.0 for decision in decisions), default=0.0)
    lines = [
        f"Merge {conflict.request.target.removeprefix('refs/heads/')} into change request #{conflict.request.number}",
        "",
        f"{alone['ours']} tensors changed by the target only, and {alone['theirs']} by the proposal only, are kept.",
        f"{len(decisions)} that both changed were decided by these rules:",
        *(rule.as_words() for rule in rules),
    ]
    if lost > 1e-6:
        lines.append(f"Cutting merged updates to their rank left out {lost:.2%} at most.")
    return "\n".join(lines)


def _publish(
    running: Running, conflict: Conflict, actor: Actor, resolved: dict[str, Content | None], message: str
) -> Commit:
    try:
        with running.adopt():
            return bring_up_to_date(
                actor=actor, request=conflict.request, ours=conflict.ours.sha, theirs=conflict.theirs.sha,
                resolved=resolved, message=message,
            )  # fmt: skip
    except (Denied, NotPossible, MergeConflict) as error:
        raise JobFailed(str(error)) from error


def _conflict(running: Running) -> Conflict:
    places = running.arguments
    request = ChangeRequest.objects.select_related("repo__owner", "author").filter(pk=places["request"]).first()
    if request is None:
        raise JobFailed("The change request is not there any more.")
    original, ours, theirs = (
        Commit.objects.get(repo=request.repo, sha=places[side]) for side in ("original", "ours", "theirs")
    )
    return Conflict(request, original, ours, theirs, tuple(places["paths"]))


def _opened(conflict: Conflict, folder: str, running: Running, files: ExitStack) -> tuple[Any, Weights]:
    """The three sides of one folder, and ours' weights. Raises JobFailed."""
    found = [
        weights_of.weights(conflict.request.repo, commit).get(folder)
        for commit in (conflict.original, conflict.ours, conflict.theirs)
    ]
    original, ours, theirs = found
    if ours is None or theirs is None:
        raise JobFailed("One side has removed all weights of this folder: take one side of it by hand.")
    try:
        for part in filter(None, found):
            manifests.ensure(part.blobs, running)
        base = weights_of.opened(original) if original else Side([])
        return opened(base, weights_of.opened(ours), weights_of.opened(theirs), files), ours
    except FormatError as error:
        raise JobFailed(str(error)) from error


def _layout(weights: Weights) -> dict[str, Path]:
    """Path in the repo → local copy of the target's files."""
    return {file.path: local.cached(file.blob) for file in weights.files if file.blob}


def _is_in(path: str, folder: str) -> bool:
    return path.endswith(local.WEIGHTS) and path.rpartition("/")[0] == folder


def _side_of(conflict: Conflict, path: str, rules: Sequence[Rule]) -> Content | None:
    """A file that is no weights: a rule for its path takes a side, without one it is the target's."""
    rule = rule_for([rule for rule in rules if rule.match != "*"], path)
    side = rule.strategy if rule.strategy in TAKE else "ours"
    commit = {"ours": conflict.ours, "theirs": conflict.theirs, "original": conflict.original}[side]
    try:
        return Inline(trees.get_file(conflict.request.repo, commit, path).read())
    except trees.EntryNotFound:
        return None


def _config(conflict: Conflict, folder: str, resolved: dict[str, Content | None]) -> PeftConfig | None:
    """The adapter's configuration as it will be after the merge."""
    path = f"{folder}/{CONFIG}" if folder else CONFIG
    if path in resolved:
        content = resolved[path]
        raw = content.data if isinstance(content, Inline) else None
    else:
        sides = [_read(conflict, commit, path) for commit in (conflict.original, conflict.ours, conflict.theirs)]
        raw = sides[2] if sides[1] == sides[0] else sides[1]
    try:
        return parse_config(raw) if raw else None
    except FormatError as error:
        raise JobFailed(f"The merged {path} cannot be read: {error}") from error


def _read(conflict: Conflict, commit: Commit, path: str) -> bytes | None:
    try:
        return trees.get_file(conflict.request.repo, commit, path).read()
    except trees.EntryNotFound:
        return None
