"""The job: fetch, choose a start, train with a live curve and checkpoints, publish through the one door, evaluate."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings as site

from adapters.catalog import local
from adapters.catalog.tasks import TaskRows
from adapters.models import Lineage, Relation
from adapters.runtime.bases import library_versions
from adapters.runtime.errors import RuntimeFault
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.jobs.models import State
from hub.jobs.running import JobFailed, Running
from hub.repos.changes import Change, OnDisk, Put
from hub.repos.commits import Conflict, commit
from hub.repos.models import Commit, Repo
from hub.rights import Denied
from hub.store.blobs import present, store_bytes
from hub.store.reading import read_range
from merges.evaluation.metrics import wilson_interval
from merges.models import Teaching
from merges.training.loaded import LoadedBase
from merges.training.settings import CurvePoint, Settings, TrainingFault
from merges.training.teach import TrainingResult, teach
from merges.work.evaluating import ask_for_evaluation
from merges.work.subjects import BadRequest, Pinned
from merges.work.teaching import starts
from merges.work.teaching.cards import specialist_card
from merges.work.teaching.data import rows_taught
from merges.work.teaching.judged import judging_settings

TRIES_ON_A_MOVING_BRANCH = 5


def run(running: Running) -> dict[str, Any]:
    """Teach one specialist. Raises JobFailed with a sentence for what cannot be taught; the curve stays."""
    row = (
        Teaching.objects.select_related("repo__owner", "task__owner", "base__owner", "owner")
        .filter(job=running.job)
        .first()
    )
    if row is None:
        raise JobFailed("The specialist's repo or its examples were deleted meanwhile, so nothing is taught.")
    actor = running.actor
    base, task = _readable(row, actor)
    rows = rows_taught(row)
    with tempfile.TemporaryDirectory(prefix="tessera-teach-") as scratch:
        places = Path(scratch)
        running.progress(0, 1, "Fetching the base")
        local.materialise(base.repo, base.commit, places / "base")
        try:
            start = _start(running, row, actor, rows, places)
            began, loaded = time.perf_counter(), LoadedBase(places / "base")
            result = _taught(running, row, base, rows, start, loaded, places / "out")
            seconds = time.perf_counter() - began
        except (TrainingFault, RuntimeFault) as error:
            curve = getattr(error, "curve", ())
            if curve:
                _update(running, row, curve=[asdict(point) for point in curve])
            raise JobFailed(str(error)) from error
        report = _report(row, rows, result, seconds, causal=loaded.causal)
        (places / "out" / "README.md").write_text(specialist_card(row, task, result, report), encoding="utf-8")
        made = _publish(running, row, actor, places / "out", result, report)
    _ask_for_evaluations(row, actor, made, task, rows)
    return {"commit": made.sha, "repo": row.repo.full_name, "seconds": report["seconds"]}


def _readable(row: Teaching, actor: Actor) -> tuple[Pinned, Pinned]:
    """Base and task, if whoever asked may still read them. Raises JobFailed."""
    seen = {repo.pk: repo for repo in Repo.objects.visible_to(actor).filter(pk__in=[row.base_id, row.task_id])}
    if row.base is None or row.base_id not in seen or row.task_id not in seen:
        raise JobFailed("The base or the task can no longer be read by whoever asked for this training.")
    base = Commit.objects.get(repo=row.base, sha=row.base_sha)
    return Pinned(row.base, base), Pinned(row.task, Commit.objects.get(repo=row.task, sha=row.task_sha))


def _labels(rows: TaskRows) -> list[str]:
    """The card's order; labels that have no example to learn from stay, so that heads fit the task."""
    found = {line.label for line in rows.split("train")}
    return list(rows.labels) if found <= set(rows.labels) else sorted(found | set(rows.labels))


def _start(running: Running, row: Teaching, actor: Actor, rows: TaskRows, places: Path) -> Path | None:
    """The folder to begin from; decided once and written down, so that a resumed job decides the same."""
    chosen = Settings.from_dict(row.settings)
    if "chosen" not in row.start:
        began = time.perf_counter()
        row.start |= starts.decide(actor, row, chosen, rows, _labels(rows), places, running.progress)
        row.start["seconds"] = round(time.perf_counter() - began, 2)
        _update(running, row, start=row.start)
    return starts.begin(row, actor, chosen, places)


def _taught(
    running: Running, row: Teaching, base: Pinned, rows: TaskRows, start: Path | None, loaded: LoadedBase, output: Path
) -> TrainingResult:
    return teach(
        loaded, rows.examples("train"), Settings.from_dict(row.settings), output, running.progress,
        validation=rows.examples("validation"), labels=_labels(rows), base_name=base.name, start=start,
        seen=bool(row.start.get("seen")), threads=site.TORCH_THREADS, checkpoint=_checkpoint(row),
        watch=_watching(running, row),
    )  # fmt: skip


def _watching(running: Running, row: Teaching) -> Callable[[Sequence[CurvePoint], Callable[[], bytes]], None]:
    """Writes the curve after every epoch and a checkpoint now and then; a worker that lost the job writes nothing."""
    last = time.monotonic()

    def watch(curve: Sequence[CurvePoint], snapshot: Callable[[], bytes]) -> None:
        nonlocal last
        fields: dict[str, Any] = {"curve": [asdict(point) for point in curve]}
        if time.monotonic() - last >= site.LIMITS["checkpoint_seconds"]:
            fields["checkpoint"] = store_bytes(snapshot()).sha256
            last = time.monotonic()
        _update(running, row, **fields)

    return watch


def _checkpoint(row: Teaching) -> bytes | None:
    blob = present(row.checkpoint) if row.checkpoint else None
    return read_range(blob, 0, blob.size) if blob else None


def _update(running: Running, row: Teaching, **fields: Any) -> None:
    """Write to the row while the job is still this worker's."""
    Teaching.objects.filter(pk=row.pk, job__attempt=running.attempt, job__state=State.RUNNING).update(**fields)


def _report(row: Teaching, rows: TaskRows, result: TrainingResult, seconds: float, *, causal: bool) -> dict[str, Any]:
    """What the training cost and gave, as plain values. `seconds` of it with loading; `cost` adds choosing a start."""
    flops = float(row.estimate.get("flops") or 0.0)
    held, threads = result.held_back, 1 if result.device.startswith("cuda") else site.TORCH_THREADS
    choosing = float(row.start.get("seconds") or 0.0)
    checked, n = result.best.validation_accuracy, len(rows.split("validation"))
    return {
        "seconds": round(result.seconds, 2), "loading_seconds": round(max(0.0, seconds - result.seconds), 2),
        "cost": round((result.seconds + choosing) * threads, 1), "choosing_seconds": choosing,
        "device": result.device, "threads": site.TORCH_THREADS, "memory": result.peak_memory,
        "device_memory": result.device_memory, "steps": result.steps, "epochs": result.best.epoch,
        "trainable": result.trainable, "share": result.share, "stopped_early": result.stopped_early,
        "resumed": result.resumed, "batch_size": result.settings.batch_size, "method": result.settings.method,
        "validation": asdict(result.best) | _interval(round((checked or 0.0) * n), n if checked is not None else 0),
        "settings": result.settings.to_dict(), "template": result.settings.template if causal else "",
        "judged": len(rows.split("test")), "versions": library_versions(),
        "held_back": {"right": held[0]} | _interval(*held) if held else None,
        "speed": flops / result.seconds if result.device == "cpu" and not result.stopped_early and flops else None,
    }  # fmt: skip


def _interval(right: int, n: int) -> dict[str, Any]:
    """How many were asked, and the 95 % interval of the share; nothing where none were."""
    return {"n": n, "interval": list(wilson_interval(right, n))} if n else {}


def _publish(
    running: Running, row: Teaching, actor: Actor, output: Path, result: TrainingResult, report: dict[str, Any]
) -> Commit:
    """Commit the specialist and remember it in the one transaction that also fences the job."""
    files = sorted(path for path in output.rglob("*") if path.is_file())
    changes: list[Change] = [Put(str(path.relative_to(output)), OnDisk(path)) for path in files]
    again = Teaching.objects.filter(repo=row.repo).exclude(result_sha="").exists()
    message = f"{'Teach again' if again else 'Teach'} with {row.examples} examples"
    for attempt in range(TRIES_ON_A_MOVING_BRANCH):
        try:
            with running.adopt():
                _require_open(row)
                made = commit(actor=actor, repo=row.repo, changes_=changes, message=message)
                Teaching.objects.filter(pk=row.pk).update(
                    result_sha=made.sha, report=report, checkpoint="", curve=[asdict(point) for point in result.points]
                )
                _remember_start(row, actor, made)
                record(actor.account, "taught", repo=row.repo, sha=made.sha)
            return made
        except Conflict:
            if attempt == TRIES_ON_A_MOVING_BRANCH - 1:
                raise
        except Denied as error:
            raise JobFailed(str(error)) from error
    raise AssertionError("unreachable")


def _require_open(row: Teaching) -> None:
    """Raises JobFailed where a public card would tell of what was made private while the job waited."""
    private = dict(Repo.objects.filter(pk__in=[row.repo_id, row.task_id, row.base_id]).values_list("pk", "private"))
    if not private.pop(row.repo_id) and any(private.values()):
        raise JobFailed(
            f"The task or the base was made private meanwhile, but {row.repo.full_name} is public. Make it private and "
            "teach again."
        )


def _remember_start(row: Teaching, actor: Actor, made: Commit) -> None:
    for source in row.start.get("sources") or []:
        begun = Repo.objects.models().with_id(source["name"]).visible_to(actor).first()
        if begun is not None:
            Lineage.objects.update_or_create(
                child=row.repo, child_sha=made.sha, parent=begun, relation=Relation.BEGUN_FROM,
                defaults={"parent_sha": source["sha"], "weight": source["weight"]},
            )  # fmt: skip


def _ask_for_evaluations(row: Teaching, actor: Actor, made: Commit, task: Pinned, rows: TaskRows) -> None:
    """The new revision, and its base to compare with, on the test split; the base is judged once for the same bytes."""
    if not rows.split("test") or row.base is None:
        return
    subjects = [(row.repo.full_name, made.sha), (row.base.full_name, row.base_sha)]
    base = Pinned(row.base, Commit.objects.get(repo=row.base, sha=row.base_sha))
    for subject, sha in subjects:
        try:
            ask_for_evaluation(
                actor=actor, subject=subject, task=task.name, revision=sha, task_revision=task.commit.sha,
                seed=int(row.settings.get("seed", 0)), settings=judging_settings(row), base=base,
            )  # fmt: skip
        except (BadRequest, Denied):
            continue
