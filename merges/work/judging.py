"""Doing evaluations, in a worker: the base is loaded once, each row is written as soon as it is judged.

A retry after a killed worker goes on with the rows that have no score yet.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

from adapters.catalog import local
from adapters.catalog.tasks import read_task
from adapters.models import Lineage, Relation
from adapters.runtime.errors import RuntimeFault
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.jobs.running import JobFailed, Running
from hub.repos.models import Commit, Repo
from hub.store.blobs import store_bytes
from hub.store.models import Blob
from merges.evaluation import items as item_files
from merges.evaluation.harness import EvaluationFault, EvaluationResult, EvaluationSettings, LocalTask, Panel
from merges.evaluation.lm_eval import OutsideScore
from merges.evaluation.metrics import wilson_interval
from merges.models import Evaluation, Merge
from merges.work import lm_eval_run, pairing
from merges.work.evaluating import shown_task

Progress = Callable[[int, int, str], None]


class OutOfBudget(EvaluationFault):
    """The evaluation took more time or memory than the hub allows."""


def run(running: Running) -> dict[str, Any]:
    """The job. Raises JobFailed with a sentence for what cannot be judged; what can be is kept."""
    keys = running.arguments.get("evaluations") or [running.arguments["evaluation"]]
    rows = list(
        Evaluation.objects.filter(pk__in=keys, score=None)
        .select_related("subject__owner", "task__owner", "base__owner")
        .order_by("subject_id", "pk")
    )
    done, faults = len(keys) - len(rows), []
    with Bench(running.progress) as bench:
        for row in rows:
            try:
                require_readable(row, running.actor)
                if row.settings.get("lm_eval"):
                    keep_outside(running, row, *bench.judge_outside(row))
                    done += 1
                    continue
                outcome = bench.judge(row)
            except (EvaluationFault, RuntimeFault, JobFailed) as error:
                faults.append(str(error) if len(rows) == 1 else f"{row.subject} on {shown_task(row.task)}: {error}")
                continue
            keep(running, row, outcome)
            done += 1
    if faults:
        raise JobFailed(" ".join(faults)[:2000])
    if len(keys) == 1:
        row = Evaluation.objects.get(pk=keys[0])
        return {"score": row.score, "n": row.n}
    return {"evaluations": done}


class Bench:
    """Local copies and the loaded base for a series of evaluations; everything is removed at the end."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._until = progress, time.monotonic() + settings.LIMITS["evaluation_seconds"]
        self._folder = tempfile.TemporaryDirectory(prefix="tessera-evaluate-")
        self._panel: tuple[tuple[Any, ...], Panel] | None = None
        self._tasks: dict[tuple[Any, str], tuple[LocalTask, str]] = {}
        self._subjects: dict[tuple[Any, str], dict[str, Path]] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_error: object) -> None:
        self._panel = None
        self._folder.cleanup()

    def judge(self, row: Evaluation) -> tuple[EvaluationResult, LocalTask, str, float]:
        """One row's result, its task, the task's metric and the seconds taken. Raises EvaluationFault, RuntimeFault,
        JobFailed."""
        if row.base is None:
            raise JobFailed("The base of this evaluation is no longer on this hub.")
        chosen = EvaluationSettings(seed=row.seed, **row.settings)
        panel = self.panel(row.base, row.base_sha, chosen.max_length)
        task, metric = self.task(row.task, row.task_sha)
        adapter = head = None
        if row.subject_id != row.base_id:
            files = self.files(row.subject, row.subject_sha)
            adapter = self.place(row.subject, row.subject_sha)
            head = head_for(row, files)
        started = time.perf_counter()
        result = panel.judge(task, adapter, head, chosen, self.progress)
        return result, task, metric, time.perf_counter() - started

    def judge_outside(self, row: Evaluation) -> tuple[OutsideScore, float]:
        """One row's score by lm-evaluation-harness, and the seconds taken. Raises EvaluationFault, RuntimeFault."""
        if row.base is None:
            raise JobFailed("The base of this evaluation is no longer on this hub.")
        chosen = EvaluationSettings(seed=row.seed, **row.settings)
        task, _metric = self.task(row.task, row.task_sha)
        self.files(row.base, row.base_sha)
        adapter = None
        if row.subject_id != row.base_id:
            self.files(row.subject, row.subject_sha)
            adapter = self.place(row.subject, row.subject_sha)
        scratch = Path(self._folder.name) / f"lm-eval-{row.pk}"
        started = time.perf_counter()
        score = lm_eval_run.judge(self.place(row.base, row.base_sha), adapter, task, chosen, scratch, self.progress)
        return score, time.perf_counter() - started

    def panel(self, base: Repo, sha: str, max_length: int) -> Panel:
        """The loaded base; another base takes its place."""
        key = (base.pk, sha, max_length)
        if self._panel is None or self._panel[0] != key:
            self._panel = None
            self._progress(0, 1, "Fetching the base")
            self.files(base, sha)
            self._panel = (key, Panel(self.place(base, sha), threads=settings.TORCH_THREADS, max_length=max_length))
        return self._panel[1]

    def files(self, repo: Repo, sha: str) -> dict[str, Path]:
        """Path → local file of a revision, fetched once."""
        key = (repo.pk, sha)
        if key not in self._subjects:
            self._subjects[key] = local.materialise(repo, commit_of(repo, sha), self.place(repo, sha))
        return self._subjects[key]

    def task(self, repo: Repo, sha: str) -> tuple[LocalTask, str]:
        """A task in memory and its metric, read once."""
        key = (repo.pk, sha)
        if key not in self._tasks:
            self._tasks[key] = local_task(repo, sha)
        return self._tasks[key]

    def progress(self, done: int, total: int, note: str) -> None:
        """Pass progress on; stop what exceeds the time or memory of one evaluation job. Raises OutOfBudget."""
        if time.monotonic() > self._until:
            limit = settings.LIMITS["evaluation_seconds"]
            raise OutOfBudget(f"The evaluation took longer than the {limit} seconds allowed here.")
        most = settings.LIMITS["evaluation_bytes"]
        if _resident() > most:
            raise OutOfBudget(f"The evaluation needs more than the {most // 2**20} MiB allowed here.")
        self._progress(done, total, note)

    def place(self, repo: Repo, sha: str) -> Path:
        """Where the files of a revision are put."""
        return Path(self._folder.name) / f"{repo.pk}-{sha[:12]}"


def _resident() -> int:
    """Bytes of memory this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def keep(running: Running, row: Evaluation, outcome: tuple[EvaluationResult, LocalTask, str, float]) -> None:
    """Write a result and its items, compare it with its relatives; only while the job is ours."""
    result, task, wanted, seconds = outcome
    metric = wanted if wanted in result.scores else "accuracy"
    blob = store_bytes(item_files.to_parquet(item_rows(result, task)))
    low, high = result.intervals.get(metric, (None, None))
    with running.adopt():
        locked = Blob.objects.select_for_update().get(pk=blob.pk)
        Blob.objects.filter(pk=locked.pk).update(unreferenced_since=None)
        Evaluation.objects.filter(pk=row.pk).update(
            score=result.scores[metric], metric=metric, low=low, high=high, n=result.n,
            standard_error=_error_of(metric, result),
            scores={
                "values": dict(result.scores),
                "intervals": {name: list(pair) for name, pair in result.intervals.items()},
                "labels": list(result.labels),
                "confusion": [list(line) for line in result.confusion],
            },
            protocol=result.protocol, device=result.device, versions=dict(result.versions), seconds=seconds,
            items=locked,
        )  # fmt: skip
        row.refresh_from_db()
        pairing.pair_with_relatives(row)
        record(running.job.owner, "evaluated", repo=row.subject, task=shown_task(row.task))


def keep_outside(running: Running, row: Evaluation, score: OutsideScore, seconds: float) -> None:
    """Write what lm-evaluation-harness found here; it keeps no items. Only while the job is ours."""
    metric = "accuracy" if "accuracy" in score.scores else next(iter(score.scores))
    value, low, high = score.scores[metric], None, None
    if metric == "accuracy" and 0 <= value <= 1:
        low, high = wilson_interval(round(value * score.n), score.n)
    with running.adopt():
        Evaluation.objects.filter(pk=row.pk).update(
            score=value, metric=metric, low=low, high=high, n=score.n, standard_error=score.standard_error,
            scores={"values": score.scores}, protocol="lm-eval", versions=score.versions, seconds=seconds,
        )  # fmt: skip
        record(running.job.owner, "evaluated", repo=row.subject, task=shown_task(row.task))


def _error_of(metric: str, result: EvaluationResult) -> float:
    """The standard error of accuracy; of other metrics the one their bootstrap interval implies."""
    if metric == "accuracy" or metric not in result.intervals:
        return result.standard_error
    low, high = result.intervals[metric]
    return (high - low) / (2 * 1.959964)


def item_rows(result: EvaluationResult, task: LocalTask) -> list[dict[str, Any]]:
    """Items with their texts, as they are kept."""
    return [
        {"row": item.row, "text": line.text[:4000], "text_pair": line.text_pair, "expected": item.expected,
         "predicted": item.predicted, "right": item.right, "score": item.score}
        for item, line in zip(result.items, task.test, strict=True)
    ]  # fmt: skip


def require_readable(row: Evaluation, actor: Actor) -> None:
    """Rights are asked again when the work is done: they may have changed while it waited. Raises JobFailed."""
    readable = Repo.objects.visible_to(actor).filter(pk__in=[row.subject_id, row.task_id]).count()
    if readable != len({row.subject_id, row.task_id}):
        raise JobFailed("The subject or the task can no longer be read by whoever asked for this evaluation.")


def commit_of(repo: Repo, sha: str) -> Commit:
    """The commit of a full id."""
    return Commit.objects.get(repo=repo, sha=sha)


def local_task(repo: Repo, sha: str) -> tuple[LocalTask, str]:
    """A task's rows and labels in memory, and the metric its card names."""
    rows = read_task(repo, commit_of(repo, sha))
    test, train, validation = (rows.examples(name) for name in ("test", "train", "validation"))
    return LocalTask(rows.labels, test, train, validation, repo.full_name), rows.metric


def head_for(row: Evaluation, files: dict[str, Path]) -> Path | None:
    """For a merge: the head of the parent that was taught on this task. Raises JobFailed if there is none that fits."""
    heads = {path: file for path, file in files.items() if path.startswith("heads/") and path.endswith(".safetensors")}
    if not heads:
        return None
    taught = Lineage.objects.filter(parent=row.task, relation=Relation.TAUGHT_ON).select_related("child__owner")
    merge = Merge.objects.filter(repo=row.subject, result_sha=row.subject_sha).first()
    aliases = {name: alias for alias, name in merge.report.get("aliases", {}).items()} if merge else {}
    for line in taught:
        name = line.child.full_name
        path = f"heads/{aliases.get(name, name).replace('/', '--')}.safetensors"
        if path in heads:
            return heads[path]
    known = ", ".join(sorted(Path(path).stem.replace("--", "/") for path in heads))
    raise JobFailed(
        f"This merge keeps one head for each of its parents ({known}), and none of them was taught on "
        f"{row.task.full_name}. Choose the task of one of its parents."
    )
