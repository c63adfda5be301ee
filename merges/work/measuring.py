"""Statistics of an adapter: asked for by whoever may write to it, measured by a job, published beside its weights."""

from __future__ import annotations

import hashlib
from typing import Any

from django.db import transaction

from adapters.catalog import local
from adapters.catalog.tasks import TaskRows
from adapters.tasks.sampling import drawn
from hub import rights
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.jobs.models import Job
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos.models import Commit, Kind, Repo
from hub.rights import Denied
from merges.work.discretion import discretion_about
from merges.work.faults import told_faults
from merges.work.fetching import is_adapter_file
from merges.work.publishing import publish_folder
from merges.work.scratch import scratch_of
from merges.work.subjects import BadRequest, Pinned, base_of, facts_of, pin
from merges.work.tasks import load_task, task_of

KINDS = ("fisher", "gram", "prototype")
ESTIMATORS = ("exact", "sampled", "empirical")
LIKELIHOODS = ("label", "next_token")
FULL_GRAM_NUMBERS = 16_000_000
MOST_LABELS = 64
"""More answers than this are no labels but texts, which are measured token by token."""


def ask_for_statistics(
    *,
    actor: Actor,
    adapter: str,
    task: str | None = None,
    kinds: tuple[str, ...] = KINDS,
    estimator: str = "exact",
    likelihood: str = "label",
    examples: int = 256,
    seed: int = 0,
) -> Job:
    """Queue the measuring of an adapter's statistics on a task's train split; its own task, if none is named.

    `likelihood`: of the task's labels, or of the next tokens, for adapters of causal language models.
    Raises BadRequest (absent, no head, unknown task or kind), Denied.
    """
    if not actor.may_write or actor.account is None:
        raise Denied("Sign in (or use a token with the write scope) to publish statistics.")
    subject = pin(adapter, actor, kinds=(Kind.ADAPTER,))
    rights.require(actor, rights.Verb.WRITE, subject.repo)
    named = task or task_of(subject, actor)
    if named is None:
        raise BadRequest(f"{subject.name} does not say which task it was taught on. Name the task to measure on.")
    on = pin(named, actor, kinds=(Kind.TASK,))
    base_of(subject, actor)
    if not kinds or set(kinds) - set(KINDS):
        raise BadRequest(f"Choose among the statistics {', '.join(KINDS)}.")
    if estimator not in ESTIMATORS:
        raise BadRequest(f"estimator must be one of {', '.join(ESTIMATORS)}.")
    if likelihood not in LIKELIHOODS:
        raise BadRequest(f"likelihood must be one of {', '.join(LIKELIHOODS)}.")
    facts = facts_of(subject) or {}
    writes = facts.get("task_type") == "CAUSAL_LM"
    if "fisher" in kinds and not writes and not facts.get("heads"):
        raise BadRequest(f"{subject.name} has no head to measure with. Publish its classifier with it.")
    if likelihood == "next_token" and not writes:
        raise BadRequest(f"{subject.name} does not write texts, so it has no next tokens. Measure over its labels.")
    if likelihood == "next_token" and estimator == "exact" and "fisher" in kinds:
        raise BadRequest("There are too many tokens to sum over all of them. Choose sampled or empirical.")
    with transaction.atomic():
        job = enqueue(
            "merges.statistics",
            title=f"Measure statistics of {subject.name}",
            arguments={
                "repo": str(subject.repo.pk), "sha": subject.commit.sha, "task": on.name, "task_sha": on.commit.sha,
                "kinds": sorted(kinds), "estimator": estimator, "likelihood": likelihood,
                "examples": examples, "seed": seed,
            },
            owner=actor.account,
            repo=subject.repo,
        )  # fmt: skip
        record(actor.account, "ask_for_statistics", repo=subject.repo, job=str(job.pk))
    return job


def run(running: Running) -> dict[str, Any]:
    """The job: measure on the train split and commit statistics/*.safetensors. Raises JobFailed with a sentence."""
    asked, actor = running.arguments, running.actor
    repo = Repo.objects.select_related("owner").filter(pk=asked["repo"]).visible_to(actor).first()
    commit = Commit.objects.filter(repo=repo, sha=asked["sha"]).first() if repo else None
    if repo is None or commit is None:
        raise JobFailed("The adapter is no longer there for you.")
    subject = Pinned(repo, commit)
    discretion = discretion_about(repo, tasks=[asked["task"]])
    with scratch_of(running) as scratch, told_faults(discretion):
        try:
            base = base_of(subject, actor)
            task = pin(asked["task"], actor, kinds=(Kind.TASK,), revision=asked["task_sha"])
        except BadRequest as error:
            raise JobFailed(str(error)) from error
        running.progress(0, 1, "Fetching the files")
        folders = {name: scratch / name for name in ("base", "adapter", "result")}
        local.materialise(base.repo, base.commit, folders["base"])
        local.materialise(subject.repo, subject.commit, folders["adapter"], is_adapter_file)
        files = _measured(folders, load_task(task), asked, running)
        for path, data in files.items():
            target = folders["result"] / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        message = f"Statistics ({', '.join(asked['kinds'])}) for merging, on {discretion.name(task.name)}"
        made = publish_folder(running, repo, folders["result"], message, lambda _commit: None)
    return {"commit": made.sha, "files": sorted(files), "bytes": sum(map(len, files.values()))}


def _measured(folders: dict[str, Any], task: TaskRows, asked: dict[str, Any], running: Running) -> dict[str, bytes]:
    from adapters.runtime.runtime import Runtime

    rows = task.examples("train")
    if not rows:
        raise JobFailed(f"The task {asked['task']} has no train split to measure on; its test split must stay unseen.")
    rows = drawn(rows, asked["examples"], asked["seed"])
    weights = (folders["adapter"] / "adapter_model.safetensors").read_bytes()
    facts = {
        "weights_sha256": hashlib.sha256(weights).hexdigest(), "examples": str(len(rows)), "seed": str(asked["seed"]),
        "estimator": asked["estimator"], "likelihood": _likelihood(asked), "task_sha": asked["task_sha"],
    }  # fmt: skip
    import torch

    try:
        return _on(Runtime(folders["base"]), folders, task, rows, asked, facts, running)
    except torch.OutOfMemoryError:
        running.progress(0, len(rows), "The device's memory is too small; measuring on the processor")
        return _on(Runtime(folders["base"], device="cpu"), folders, task, rows, asked, facts, running)


def _on(
    runtime: Any, folders: dict[str, Any], task: Any, rows: list[Any], asked: dict[str, Any], facts: dict[str, str],
    running: Running,
) -> dict[str, bytes]:  # fmt: skip
    """The statistics' files, measured where the runtime is."""
    from merges.statistics.measuring import measure
    from merges.statistics.sidecar_files import files_of

    kinds = asked["kinds"]
    fisher: dict[str, Any] = {}
    gram: dict[str, Any] = {}
    if {"fisher", "gram"} & set(kinds):
        runtime.attach("subject", folders["adapter"])
        labels = list(runtime.labels("subject") or task.labels)
        if "fisher" in kinds and set(labels) != set(task.labels):
            raise JobFailed(f"The adapter's labels are not those of the task {asked['task']}.")
        if runtime.task == "generate" and _likelihood(asked) == "label" and len(labels) > MOST_LABELS:
            message = (
                f"The task {asked['task']} has {len(labels)} different answers: they are texts rather than labels."
            )
            raise JobFailed(f"{message} Measure over next tokens.")
        result = measure(
            runtime, "subject", rows, labels, fisher="fisher" in kinds, estimator=asked["estimator"],
            likelihood=_likelihood(asked), gram=_gram(kinds, runtime), seed=asked["seed"], progress=running.progress,
        )  # fmt: skip
        fisher, gram = result.fishers(), result.grams()
    prototype = None
    if "prototype" in kinds:
        texts, pairs = [row.text for row in rows], [row.text_pair for row in rows]
        prototype = runtime.features(texts, pairs, normalise=True, progress=running.progress).mean(0)
    return files_of(fisher, gram, prototype, facts)


def _likelihood(asked: dict[str, Any]) -> Any:
    return asked.get("likelihood", "label")


def _gram(kinds: list[str], runtime: Any) -> Any:
    """Full Grams while they stay small, else their diagonals."""
    if "gram" not in kinds:
        return "none"
    model, _ = runtime.differentiable("subject")
    widths = [module.in_features for module in model.modules() if getattr(module, "lora_A", None)]
    return "full" if sum(width * width for width in widths) <= FULL_GRAM_NUMBERS else "diagonal"
