"""The job `adapters.inspect`: what one commit holds, as facts, checks, tags and lineage."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.catalog import bases, comparing, local, manifests, placing_queue, tagging, weights
from adapters.catalog.tasks import report_on
from adapters.formats import strict_json
from adapters.formats.card_rules import validate_model_card
from adapters.formats.errors import FormatError
from adapters.formats.findings import Finding, Verdict
from adapters.formats.inspect import inspect_adapter, inspect_base
from adapters.formats.peft_config import MAX_CONFIG_BYTES
from adapters.models import Inspection, Lineage, Relation
from hub.accounts.actor import Actor, actor_for
from hub.jobs.models import Job
from hub.jobs.running import Running
from hub.repos import cards, trees
from hub.repos.lifecycle import write_facts
from hub.repos.models import Commit, Kind, Repo
from hub.review.checks import withdraw_check, write_check

ADAPTER_CONFIG, ADAPTER_WEIGHTS, LABELS = "adapter_config.json", "adapter_model.safetensors", "labels.json"
GIVEN_UP = "inspection"


@dataclass
class Seen:
    """What an inspection gathers before it is written down in one transaction."""

    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    base: Repo | None = None
    tasks: list[Repo] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)


def run(running: Running) -> dict[str, Any]:
    """Inspect one commit. Idempotent: rows are replaced, never added twice."""
    repo = Repo.objects.select_related("owner").get(pk=running.arguments["repo"])
    commit = Commit.objects.get(repo=repo, sha=running.arguments["sha"])
    actor = actor_for(repo.owner)
    kind = kind_at(repo, commit)
    seen = inspect(repo, commit, kind, actor)
    with running.adopt():
        _write(repo, commit, seen, running)
        placing_queue.queue(repo, commit, running.job.owner)
    _look_inside(repo, commit, running)
    return {"verdicts": {finding.name: finding.verdict for finding in seen.findings}}


def job_failed(job: Job) -> None:
    """An inspection was given up (it crashed or its worker was lost, three times): the commit's check says so."""
    repo = Repo.objects.filter(pk=job.arguments.get("repo")).first()
    if repo is not None:
        write_check(
            repo=repo, sha=str(job.arguments.get("sha", "")), name=GIVEN_UP, verdict="fail", job=job,
            summary=f"This commit could not be inspected, so nothing is known of it. {job.error}"[:1000],
        )  # fmt: skip


def _look_inside(repo: Repo, commit: Commit, running: Running) -> None:
    """Manifests of the weights, then (in a job of its own) what the commit changed in them."""
    found = weights.weights(repo, commit)
    blobs = [blob for group in found.values() for blob in group.blobs]
    manifests.ensure(blobs, running, lambda done, total: running.progress(done, total, "Reading tensors"))
    parent = Commit.objects.filter(repo=repo, sha=commit.parents[0]).first() if commit.parents else None
    if parent:
        for pair in comparing.pairs(actor_for(repo.owner), repo, parent, repo, commit):
            if pair.left.files and pair.right.files:
                comparing.queue(pair)


def kind_at(repo: Repo, commit: Commit) -> str:
    """What the files of this commit make of the repo (a change request may propose another kind than the head's)."""
    if repo.kind in (Kind.TASK, Kind.SYSTEM):
        return repo.kind
    paths = trees.flatten(repo, commit.tree)
    return Kind.ADAPTER if ADAPTER_CONFIG in paths or "config.json" not in paths else Kind.BASE


def inspect(repo: Repo, commit: Commit, kind: str, actor: Actor) -> Seen:
    """Everything measured and judged about a commit, without writing anything."""
    seen = Seen()
    if kind == Kind.ADAPTER:
        with tempfile.TemporaryDirectory(prefix="tessera-inspect-") as scratch:
            _adapter(repo, commit, Path(scratch), actor, seen)
    elif kind == Kind.BASE:
        _base(repo, commit, seen)
    elif kind == Kind.TASK:
        _task(repo, commit, seen)
    _card(repo, commit, kind, actor, seen)
    return seen


def _adapter(repo: Repo, commit: Commit, scratch: Path, actor: Actor, seen: Seen) -> None:
    wanted = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, LABELS)
    files = local.materialise(repo, commit, scratch, lambda path: path in wanted)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if name not in files:
            seen.findings.append(Finding("complete_files", "fail", f"{name} is missing: the adapter cannot be loaded."))
            return
    config = files[ADAPTER_CONFIG].read_bytes()
    base_name = _declared_base(config)
    seen.base = bases.find_base(base_name, actor)
    header = None
    if seen.base and (head := bases.head_of(seen.base)):
        try:
            header = bases.base_header(seen.base, head)
            seen.facts["base_sha"] = head.sha
        except FormatError as error:
            seen.findings.append(Finding("base_readable", "warn", f"The base {base_name} cannot be read: {error}"))
    inspection = inspect_adapter(config, files[ADAPTER_WEIGHTS], header)
    seen.facts |= inspection.facts
    seen.findings += inspection.findings
    if seen.base:
        seen.facts["base"] = seen.base.full_name
    if LABELS in files:
        _labels(files[LABELS], seen)


def _labels(path: Path, seen: Seen) -> None:
    try:
        labels = strict_json.loads(path.read_bytes(), what=LABELS, max_bytes=MAX_CONFIG_BYTES)
    except FormatError as error:
        seen.findings.append(Finding("labels", "warn", error.message))
        return
    if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
        seen.facts["labels"] = labels
    else:
        seen.findings.append(Finding("labels", "warn", "labels.json is not a JSON list of label names."))


def _base(repo: Repo, commit: Commit, seen: Seen) -> None:
    files = trees.list_files(repo, commit)
    config = files["config.json"].read() if "config.json" in files else None
    inspection = inspect_base(config, bases.read_headers(repo, commit))
    seen.facts |= inspection.facts
    seen.findings += inspection.findings


def _task(repo: Repo, commit: Commit, seen: Seen) -> None:
    report = report_on(repo, commit)
    seen.facts |= report.facts
    seen.findings += report.findings


def _card(repo: Repo, commit: Commit, kind: str, actor: Actor, seen: Seen) -> None:
    seen.card = _front(repo, commit)
    if kind in (Kind.TASK, Kind.SYSTEM):
        return
    if not seen.card:
        seen.findings.append(
            Finding("card", "warn", "There is no README.md with front matter: nobody learns what this is for.")
        )
        return
    report = validate_model_card(seen.card, is_base=kind == Kind.BASE)
    sentences = " ".join((report.errors + report.warnings)[:4])
    verdict: Verdict = "fail" if report.errors else "warn" if report.warnings else "pass"
    seen.findings.append(Finding("card", verdict, sentences or "The card is complete."))
    if kind == Kind.ADAPTER:
        named = [*report.claims.get("datasets", []), report.claims.get("task", "")]
        for name in filter(None, named):
            task = Repo.objects.tasks().with_id(name).visible_to(actor).select_related("owner").first()
            if task:
                seen.tasks.append(task)


def _front(repo: Repo, commit: Commit) -> dict[str, Any]:
    try:
        return cards.front_matter(trees.get_file(repo, commit, "README.md").read())
    except trees.EntryNotFound:
        return {}


def _declared_base(config: bytes) -> str | None:
    try:
        told = strict_json.loads(config, what=ADAPTER_CONFIG, max_bytes=MAX_CONFIG_BYTES)
    except FormatError:  # which the check of the configuration says in words
        return None
    declared = told.get("base_model_name_or_path") if isinstance(told, dict) else None
    return declared if isinstance(declared, str) else None


def _write(repo: Repo, commit: Commit, seen: Seen, running: Running) -> None:
    Inspection.objects.update_or_create(repo=repo, sha=commit.sha, defaults={"facts": seen.facts, "job": running.job})
    withdraw_check(repo=repo, sha=commit.sha, name=GIVEN_UP)
    for finding in seen.findings:
        write_check(
            repo=repo, sha=commit.sha, name=finding.name, verdict=finding.verdict, summary=finding.summary,
            details=finding.details, job=running.job,
        )  # fmt: skip
    Lineage.objects.filter(
        child=repo, child_sha=commit.sha, relation__in=(Relation.ADAPTER_OF, Relation.TAUGHT_ON)
    ).delete()
    if seen.base:
        Lineage.objects.create(
            child=repo, child_sha=commit.sha, parent=seen.base, parent_sha=seen.facts.get("base_sha", ""),
            relation=Relation.ADAPTER_OF,
        )  # fmt: skip
    for task in {task.pk: task for task in seen.tasks}.values():
        Lineage.objects.create(
            child=repo, child_sha=commit.sha, parent=task, parent_sha=task.head, relation=Relation.TAUGHT_ON
        )
    write_facts(repo, commit, tagging.headline(seen.facts), tagging.tags(seen.card, seen.facts))
