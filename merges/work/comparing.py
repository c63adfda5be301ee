"""Comparisons of merging methods: asked for, run by a job with all controls, and the winner published as a merge."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from adapters.answering.neutral import NEUTRAL
from adapters.catalog import local
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.jobs.queue import enqueue
from hub.jobs.running import Running
from hub.repos.models import Kind
from hub.rights import Denied
from merges.methods import DEFAULT, METHODS
from merges.models import Merge, MergeComparison
from merges.recipes import Problem, RecipeError, lint, parse
from merges.work.choosing import judged_tasks
from merges.work.faults import told_faults
from merges.work.fetching import is_adapter_file, still_readable
from merges.work.merging import ask_for_merge
from merges.work.scratch import scratch_of
from merges.work.subjects import BadRequest, Pinned, base_of, merge_facts, pin
from merges.work.tasks import task_of

MAX_INPUTS, MAX_METHODS = 16, 12
DEFAULT_METHODS = (DEFAULT, "task_arithmetic", "ties", "iso_cts")


def ask_for_comparison(
    *,
    actor: Actor,
    inputs: list[str],
    methods: list[str] | None = None,
    validation: int = 128,
    test: int = 500,
    seed: int = 0,
    fresh: bool = False,
) -> MergeComparison:
    """Queue a comparison of methods on adapters, each judged on the task it was taught on.

    `methods` are names, `name+space` for a shared space; `fresh` also teaches a new adapter for each task on its
    validation examples, as a control. Raises RecipeError, BadRequest, Denied.
    """
    if not actor.may_write or actor.account is None:
        raise Denied("Sign in (or use a token with the write scope) to compare methods.")
    if not 2 <= len(inputs) <= MAX_INPUTS or len(set(inputs)) < len(inputs):
        raise BadRequest(f"Choose from 2 to {MAX_INPUTS} different adapters.")
    chosen = methods or list(DEFAULT_METHODS)
    if len(chosen) > MAX_METHODS:
        raise BadRequest(f"Choose at most {MAX_METHODS} methods.")
    pinned = [pin(name, actor, kinds=(Kind.ADAPTER,)) for name in inputs]
    tasks = [_task(item, actor) for item in pinned]
    base = base_of(pinned[0], actor)
    facts = [merge_facts(item) for item in pinned]
    problems: list[Problem] = []
    for name in chosen:
        problems += [one for one in lint(parse(_raw(name, pinned, tasks)), facts) if one.severity == "error"]
    if problems:
        raise RecipeError(list({problem.message: problem for problem in problems}.values()))
    order = {
        "inputs": [{"adapter": item.name, "revision": item.commit.sha} for item in pinned],
        "tasks": [{"task": item.name, "revision": item.commit.sha} for item in tasks],
        "base": {"model": base.name, "revision": base.commit.sha},
        "methods": chosen, "validation": validation, "test": test, "seed": seed, "fresh": fresh,
    }  # fmt: skip
    with transaction.atomic():
        job = enqueue(
            "merges.compare", title=f"Compare {len(chosen)} ways to merge {len(pinned)} adapters",
            arguments={}, owner=actor.account,
        )  # fmt: skip
        row = MergeComparison.objects.create(owner=actor.account, job=job, order=order)
        row.rests_on.set({item.repo for item in (*pinned, *tasks, base)})
        record(actor.account, "compare_merges", job=str(job.pk))
    return row


def _task(adapter: Pinned, actor: Actor) -> Pinned:
    name = task_of(adapter, actor)
    if name is None:
        raise BadRequest(
            f"{adapter.name} names no task on this hub, so it cannot be judged. Add datasets: to its card."
        )
    return pin(name, actor, kinds=(Kind.TASK,))


def _raw(name: str, pinned: list[Pinned], tasks: list[Pinned]) -> dict[str, Any]:
    """The recipe of one method as its short name says it."""
    method, _, space = name.partition("+")
    raw: dict[str, Any] = {"merge_method": method, "inputs": [{"adapter": item.name} for item in pinned]}
    if space:
        raw["space"] = space
    if method in METHODS and METHODS[method].searched:
        raw["select"] = {"tasks": [item.name for item in tasks]}
    if method in METHODS and METHODS[method].routed:
        message = f"{METHODS[method].title} has no single update to compare. Leave it out."
        raise RecipeError([Problem("methods", "error", message)])
    return raw


def run(running: Running) -> dict[str, Any]:
    """The job. Raises JobFailed with a sentence."""
    from merges.comparing.compare import Comparison
    from merges.running import LocalAdapter

    row = MergeComparison.objects.get(job=running.job)
    order = row.order
    with scratch_of(running) as scratch, told_faults():
        pinned, inputs = [], []
        for number, entry in enumerate(order["inputs"]):
            running.progress(0, 1, f"Fetching {entry['adapter']}")
            item = still_readable(entry["adapter"], entry["revision"], running.actor, False)
            local.materialise(item.repo, item.commit, scratch / f"input-{number}", is_adapter_file)
            pinned.append(item)
            inputs.append(LocalAdapter(entry["adapter"], scratch / f"input-{number}"))
        ground = still_readable(order["base"]["model"], order["base"]["revision"], running.actor, True)
        local.materialise(ground.repo, ground.commit, scratch / "base")
        names = [(entry["task"], entry["revision"]) for entry in order["tasks"]]
        tasks, splits = judged_tasks(names, pinned, inputs, running, scratch, order["validation"], order["test"])
        methods = [{"merge_method": name.partition("+")[0]} | _space(name) for name in order["methods"]]
        place = scratch / "trials"
        place.mkdir(exist_ok=True)
        fresh = order.get("fresh", False)
        comparison = Comparison(scratch / "base", inputs, tasks, place, running.progress, order["seed"], fresh, NEUTRAL)
        report = comparison.run(methods)
    with running.adopt():
        MergeComparison.objects.filter(pk=row.pk).update(report=report | {"chosen_on": splits})
    return {"winner": report["winner"], "seconds": round(report["seconds"], 1)}


def _space(name: str) -> dict[str, str]:
    space = name.partition("+")[2]
    return {"space": space} if space else {}


def publish_winner(*, actor: Actor, comparison: MergeComparison, target: str, method: str | None = None) -> Merge:
    """Queue the merge of a comparison's winner, or of another of its methods, with the λ it chose.

    The same recipe and inputs give the same bytes that were judged. Raises BadRequest, RecipeError, Denied.
    """
    wanted = method or comparison.report.get("winner")
    found = next((one for one in comparison.report.get("methods", []) if one["name"] == wanted), None)
    if found is None:
        raise BadRequest("The comparison has not ended, or has no such method.")
    recipe = {key: value for key, value in found["recipe"].items() if key != "select"}
    recipe["inputs"] = [
        entry | {"adapter": known["adapter"], "revision": known["revision"]}
        for entry, known in zip(recipe["inputs"], comparison.order["inputs"], strict=True)
    ]
    if METHODS[recipe["merge_method"]].searched:  # its weights are found; adding up by them needs no search again
        recipe |= {"merge_method": "task_arithmetic", "parameters": {"lambda": 1.0}}
    return ask_for_merge(actor=actor, raw=recipe, target=target)
