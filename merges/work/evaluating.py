"""An evaluation: asked for once for the same bytes, run by a worker, kept with everything needed to repeat it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.db import transaction

from adapters.catalog import local
from adapters.catalog.inspecting import is_split
from adapters.models import Lineage, Relation
from adapters.tasks.validation import TaskReport, validate
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.jobs.models import State
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos import trees
from hub.repos.models import Commit, Kind, Repo
from hub.rights import Denied
from merges.models import Evaluation
from merges.work.subjects import BadRequest, Pinned, base_of, pin

SPLIT = "test"


def ask_for_evaluation(
    *,
    actor: Actor,
    subject: str,
    task: str,
    revision: str | None = None,
    task_revision: str | None = None,
    seed: int = 0,
    base: Pinned | None = None,
) -> Evaluation:
    """Queue the evaluation of an adapter, merge or base on a task's test split; the same bytes are judged once.

    `base` is for those who know it already: a commit's inspection, which says so, may still be waiting.
    Raises BadRequest (absent, no test split, unknown base), Denied.
    """
    if not actor.may_write or actor.account is None:
        raise Denied("Sign in (or use a token with the write scope) to ask for an evaluation.")
    judged = pin(subject, actor, kinds=(Kind.ADAPTER, Kind.BASE), revision=revision)
    on = pin(task, actor, kinds=(Kind.TASK,), revision=task_revision)
    base = base or base_of(judged, actor)
    if not _has_test_split(on):
        raise BadRequest(f"{on.name} has no test split at this revision: add test.jsonl, test.csv or test.parquet.")
    shown_task = _shown(on.repo)
    with transaction.atomic():
        row, made = Evaluation.objects.select_for_update(of=("self",)).get_or_create(
            subject=judged.repo, subject_sha=judged.commit.sha, task=on.repo, task_sha=on.commit.sha, split=SPLIT,
            seed=seed,
            defaults={"owner": actor.account, "base": base.repo, "base_sha": base.commit.sha},
        )  # fmt: skip
        if made or _may_be_asked_again(row):
            row.job = enqueue(
                "merges.evaluate",
                title=f"Evaluate {judged.name} on {shown_task}",
                arguments={"evaluation": row.pk},
                owner=actor.account,
                repo=judged.repo,
            )
            row.save(update_fields=["job"])
            record(actor.account, "ask_for_evaluation", repo=judged.repo, task=shown_task, job=str(row.job.pk))
    return row


def _shown(task: Repo) -> str:
    """A task's name where everybody who may read the subject can see it: in the job's title and in the activity."""
    return "a private task" if task.private else task.full_name


def _may_be_asked_again(row: Evaluation) -> bool:
    """An evaluation that failed or was cancelled may be tried again; one that waits, runs or succeeded stands."""
    return row.score is None and (row.job is None or row.job.state in (State.FAILED, State.CANCELLED))


def _has_test_split(task: Pinned) -> bool:
    from adapters.tasks.reading import split_name

    names = [split_name(path) for path in trees.flatten(task.repo, task.commit.tree)]
    return any(name is not None and name[0] == SPLIT for name in names)


def run(running: Running) -> dict[str, Any]:
    """The job. Raises JobFailed with a sentence for what cannot be judged."""
    from adapters.runtime.errors import RuntimeFault
    from merges.evaluation.harness import EvaluationFault, EvaluationSettings, evaluate

    row = Evaluation.objects.select_related("subject__owner", "task__owner", "base__owner").get(
        pk=running.arguments["evaluation"]
    )
    if row.base is None:
        raise JobFailed("The base of this evaluation is no longer on this hub.")
    _require_readable(row, running.actor)
    with tempfile.TemporaryDirectory(prefix="tessera-evaluate-") as scratch:
        running.progress(0, 1, "Fetching the files")
        places = Path(scratch)
        local.materialise(row.base, _commit(row.base, row.base_sha), places / "base")
        task = _local_task(row, places / "task")
        adapter = head = None
        if row.subject.pk != row.base.pk:
            adapter = places / "adapter"
            files = local.materialise(row.subject, _commit(row.subject, row.subject_sha), adapter)
            head = _head_for(row, files)
        started = time.perf_counter()
        try:
            result = evaluate(
                places / "base", adapter, task, EvaluationSettings(seed=row.seed), running.progress, head=head
            )
        except (EvaluationFault, RuntimeFault) as error:
            raise JobFailed(str(error)) from error
        seconds = time.perf_counter() - started
    metric = row.metric if row.metric in result.scores else "accuracy"
    with running.adopt():
        Evaluation.objects.filter(pk=row.pk).update(
            score=result.scores[metric],
            metric=metric,
            standard_error=result.standard_error,
            n=result.n,
            scores={
                "values": dict(result.scores),
                "intervals": {name: list(pair) for name, pair in result.intervals.items()},
                "labels": list(result.labels),
                "confusion": [list(line) for line in result.confusion],
                "worst": _worst(result.items),
            },
            protocol=result.protocol,
            device=result.device,
            versions=dict(result.versions),
            seconds=seconds,
        )
        record(running.job.owner, "evaluated", repo=row.subject, task=_shown(row.task))
    return {"score": result.scores[metric], "n": result.n}


def _worst(items: Any, most: int = 20) -> list[dict[str, Any]]:
    """The items that were wrong with the greatest confidence."""
    wrong = sorted((item for item in items if not item.right), key=lambda item: -item.score)
    return [asdict(item) for item in wrong[:most]]


def _require_readable(row: Evaluation, actor: Actor) -> None:
    """Rights are asked again when the work is done: they may have changed while it waited."""
    readable = Repo.objects.visible_to(actor).filter(pk__in=[row.subject_id, row.task_id]).count()
    if readable != len({row.subject_id, row.task_id}):
        raise JobFailed("The subject or the task can no longer be read by whoever asked for this evaluation.")


def _commit(repo: Repo, sha: str) -> Commit:
    return Commit.objects.get(repo=repo, sha=sha)


def _local_task(row: Evaluation, folder: Path) -> Any:
    from adapters.runtime.examples import Example
    from merges.evaluation.harness import LocalTask

    commit = _commit(row.task, row.task_sha)
    files = local.materialise(row.task, commit, folder, lambda path: is_split(path) or path == "README.md")
    card = files.pop("README.md", None)
    report: TaskReport = validate(_front(card), files)
    labels = report.facts.get("labels") or sorted({line.label for rows in report.splits.values() for line in rows})
    splits = {
        name: [Example(line.text, line.label, line.text_pair) for line in rows] for name, rows in report.splits.items()
    }
    if report.facts.get("metric"):
        row.metric = report.facts["metric"]
    return LocalTask(
        labels=tuple(labels), test=splits.get("test", []), train=splits.get("train", []),
        validation=splits.get("validation", []), name=row.task.full_name,
    )  # fmt: skip


def _front(card: Path | None) -> dict[str, Any]:
    from hub.repos.cards import front_matter

    return front_matter(card.read_bytes()) if card else {}


def _head_for(row: Evaluation, files: dict[str, Path]) -> Path | None:
    """For a merge: the head of the parent that was taught on this task. Raises JobFailed if there is none that fits."""
    heads = {path: file for path, file in files.items() if path.startswith("heads/") and path.endswith(".safetensors")}
    if not heads:
        return None
    taught = Lineage.objects.filter(parent=row.task, relation=Relation.TAUGHT_ON).select_related("child__owner")
    for line in taught:
        path = f"heads/{line.child.owner.name}--{line.child.name}.safetensors"
        if path in heads:
            return heads[path]
    known = ", ".join(sorted(Path(path).stem.replace("--", "/") for path in heads))
    raise JobFailed(
        f"This merge keeps one head for each of its parents ({known}), and none of them was taught on "
        f"{row.task.full_name}. Choose the task of one of its parents."
    )
