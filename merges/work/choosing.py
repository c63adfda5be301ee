"""What is chosen on validation examples: a recipe's tasks made ready to choose on, and its λ or weights found there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.tasks.sampling import drawn
from hub.jobs.running import JobFailed, Running
from hub.repos.models import Kind
from merges.recipes import Recipe, fingerprint
from merges.work.discretion import Progress
from merges.work.subjects import BadRequest, Pinned, facts_of, pin
from merges.work.tasks import load_task, taught_on, to_choose_on

WRITERS = ("CAUSAL_LM", "SEQ_2_SEQ_LM")
"""What peft calls adapters of models that write: labels are continuations there, and nothing has a head."""


def judged_tasks(
    names: list[tuple[str, str | None]], pinned: list[Pinned], inputs: list[Any], running: Running, scratch: Path,
    validation: int, test: int,
) -> tuple[list[Any], dict[str, str]]:  # fmt: skip
    """The tasks with the heads of the inputs taught on them, and which split each one's λ is chosen on."""
    from merges.comparing.judge import JudgedTask
    from merges.running.heads import write_heads

    heads = write_heads(inputs, scratch / "heads")
    result, splits = [], {}
    for name, revision in names:
        try:
            task = pin(name, running.actor, kinds=(Kind.TASK,), revision=revision)
        except BadRequest as error:
            raise JobFailed(f"A task is no longer there for you: {error}") from error
        parent = taught_on(task, pinned)
        if parent is None:
            raise JobFailed(f"None of the inputs was taught on {name}, so it cannot be judged there.")
        writes = (facts_of(parent) or {}).get("task_type") in WRITERS
        if parent.name not in heads and not writes:
            raise JobFailed(f"{parent.name}, which was taught on {name}, brings no head: it cannot be judged there.")
        rows = load_task(task)
        chosen, splits[name] = to_choose_on(rows, validation)
        judged = drawn(rows.examples("test"), test)
        if not chosen or (test and not judged):
            raise JobFailed(f"The task {name} lacks examples to choose on or to judge on.")
        result.append(JudgedTask(name, rows.labels, heads.get(parent.name), chosen, judged))
    return result, splits


def tune(
    recipe: Recipe, pinned: list[Pinned], inputs: list[Any], base: Path, running: Running, scratch: Path,
    progress: Progress,
) -> tuple[Recipe, list[dict[str, Any]]]:  # fmt: skip
    """The recipe with λ or weights chosen on its tasks' validation examples, and every trial."""
    from merges.comparing.compare import Comparison

    assert recipe.select is not None
    names: list[tuple[str, str | None]] = [(name, None) for name in recipe.select.tasks]
    tasks, _ = judged_tasks(names, pinned, inputs, running, scratch, recipe.select.examples, 0)
    place = scratch / f"tuning-{fingerprint(recipe)[:12]}"
    place.mkdir(exist_ok=True)
    chosen, trials = Comparison(base, inputs, tasks, place, progress).tune(recipe)
    return replace(chosen, select=recipe.select), [trial.told() for trial in trials]
