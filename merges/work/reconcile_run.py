"""The work of tensor-level merges: both sides looked at, and merged by rules into the change request's ref."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from adapters.catalog import local, manifests
from adapters.catalog import weights as weights_of
from adapters.catalog.weights import CONFIG, INDEX, Weights, in_folder
from adapters.diffs import Side
from adapters.formats.errors import FormatError
from adapters.formats.peft_config import PeftConfig, parse_config
from hub.accounts.actor import Actor
from hub.jobs.running import JobFailed, Running
from hub.repos import trees
from hub.repos.changes import Content, Inline, OnDisk
from hub.repos.models import Commit
from hub.review.models import ChangeRequest
from hub.review.refusals import MergeConflict, NotPossible
from hub.review.updating import bring_up_to_date
from hub.rights import Denied
from merges.running.sidecars import FOLDER as STATISTICS
from merges.running.sidecars import Sidecars, sidecars_of
from merges.threeway import MEASURED, Rule, RuleError, ThreeWay, index, opened, parse_rules, write
from merges.threeway.rules import TAKE, rule_for
from merges.work.reconciling import SIDES, Conflict

MOST_SHOWN = 2000


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
            layout = {side: _layout(found) for side, found in weights.items()}
            try:
                written, result = write(three, rules, layout, place, config, running.progress)
            except (RuleError, FormatError) as error:
                raise JobFailed(str(error)) from error
            resolved |= dict.fromkeys(_replaced(conflict, folder, layout))
            resolved |= {path: OnDisk(file) for path, file in written.items()}
            resolved |= _indexes(conflict, folder, written)
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


def _opened(conflict: Conflict, folder: str, running: Running, files: ExitStack) -> tuple[ThreeWay, dict[str, Weights]]:
    """The three sides of one folder, and the weights of ours and theirs. Raises JobFailed."""
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
        sidecars = {side: _sidecars(side_weights, files) for side, side_weights in zip(SIDES, found[1:], strict=True)}
        three = opened(base, weights_of.opened(ours), weights_of.opened(theirs), files, sidecars)
        return three, {"ours": ours, "theirs": theirs}
    except FormatError as error:
        raise JobFailed(str(error)) from error


def _layout(weights: Weights) -> dict[str, Path]:
    """Path in the repo → local copy of one side's files."""
    return {file.path: local.cached(file.blob) for file in weights.files if file.blob}


def _replaced(conflict: Conflict, folder: str, layout: dict[str, dict[str, Path]]) -> set[str]:
    """Paths that the merge writes anew or lets go: either side's weights, and statistics, which no longer fit them."""
    weights = {path for path in conflict.paths if path.endswith(local.WEIGHTS) and path.rpartition("/")[0] == folder}
    beside = in_folder(folder, STATISTICS) + "/"
    statistics = {
        path for commit in (conflict.ours, conflict.theirs)
        for path in trees.flatten(conflict.request.repo, commit.tree) if path.startswith(beside)
    }  # fmt: skip
    return weights.union(statistics, *layout.values())


def _indexes(conflict: Conflict, folder: str, written: dict[str, Path]) -> dict[str, Content | None]:
    """The folder's index, told anew from the merged files, where either side has one."""
    names = {path.rpartition("/")[2]: file for path, file in written.items()}
    made: dict[str, Content | None] = {}
    for commit in (conflict.theirs, conflict.ours):
        for path in trees.flatten(conflict.request.repo, commit.tree):
            if path.endswith(INDEX) and path.rpartition("/")[0] == folder and (raw := _read(conflict, commit, path)):
                made[path] = Inline(index(names, raw))
    return made


def _sidecars(weights: Weights | None, files: ExitStack) -> Sidecars:
    """The statistics published beside an adapter's weights, where they are of those weights."""
    if weights is None or weights.config is None or len(weights.blobs) != 1:
        return Sidecars()
    found = trees.list_files(weights.repo, weights.commit)
    paths = {kind: found.get(in_folder(weights.folder, f"{STATISTICS}/{kind}{local.WEIGHTS}")) for kind in MEASURED}
    copies = {kind: local.cached(file.blob) for kind, file in paths.items() if file and file.blob}
    return sidecars_of(copies, weights.blobs[0].sha256, files)


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
