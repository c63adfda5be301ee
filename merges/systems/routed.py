"""How good a System is: each test text goes to the specialist its router chooses, and counts as right if that
specialist gives the expected label. Pure: a loaded panel, folders and tasks in memory; scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.embeddings.texts import MOST, choose, text_of
from adapters.routing import Library, Profile, Query, routers
from adapters.routing.deciding import decide
from adapters.runtime.examples import Example
from adapters.runtime.progress import Progress, silent
from merges.evaluation.declared import EvaluationFault, EvaluationSettings, LocalTask
from merges.evaluation.harness import Panel
from merges.evaluation.metrics import standard_error
from merges.evaluation.paired import pair


@dataclass(frozen=True)
class Specialist:
    """A member's files and its task."""

    name: str
    folder: Path
    task: LocalTask
    head: Path | None = None


@dataclass(frozen=True)
class TaskScore:
    """One task through the System: accuracy, how often the router chose its own specialist, and what that specialist
    alone reaches (`alone`). `right` has one letter a test row: 1 where the System was right."""

    task: str
    n: int
    score: float
    standard_error: float
    routed: float
    alone: float
    right: str


def judge(
    panel: Panel,
    specialists: Sequence[Specialist],
    router: str,
    parameters: Mapping[str, float],
    progress: Progress = silent,
) -> list[TaskScore]:
    """Score every member's task through the router. Raises EvaluationFault, RoutingFault."""
    declared = routers().get(router)
    if declared is None:
        raise EvaluationFault(f"There is no router called {router!r}. There are {', '.join(routers())}.")
    if set(declared.needs) - {"texts"}:
        raise EvaluationFault(f"The router {router} needs more than texts; a System uses one that needs texts only.")
    if not specialists:
        return []
    if panel.runtime.task != "classify":
        raise EvaluationFault("A System of a language model cannot be judged here yet; use an encoder as its base.")
    library = _library(panel, specialists)
    settings = EvaluationSettings(draws=10, max_length=panel.runtime.max_length)
    answers = _answers(panel, specialists, settings, progress)
    scores = []
    for number, one in enumerate(specialists):
        query = Query(_vectors(panel, one.task.test), texts=[text_of(row) for row in one.task.test])
        decisions = decide(library, declared, query, top=1, parameters=parameters)
        chosen = [decision.choices[0].name if decision.choices else "" for decision in decisions]
        right = [
            answers[name, one.task.name][row] == example.label if (name, one.task.name) in answers else False
            for row, (name, example) in enumerate(zip(chosen, one.task.test, strict=True))
        ]
        alone = [
            answer == row.label for answer, row in zip(answers[one.name, one.task.name], one.task.test, strict=True)
        ]
        share = float(np.mean(right))
        scores.append(TaskScore(
            one.task.name, len(right), share, standard_error(share, len(right)),
            float(np.mean([name == one.name for name in chosen])), float(np.mean(alone)),
            "".join("1" if item else "0" for item in right),
        ))  # fmt: skip
        progress(number + 1, len(specialists), f"Routing {one.task.name}")
    return scores


def _library(panel: Panel, specialists: Sequence[Specialist]) -> Library:
    profiles = []
    for one in specialists:
        if not one.task.train:
            raise EvaluationFault(f"The task {one.task.name} has no train split for the router to know it by.")
        known = choose(one.task.train, MOST)
        profiles.append(Profile(one.name, _vectors(panel, known), texts=tuple(map(text_of, known))))
    return Library(profiles[0].rows.shape[1], profiles)


def _vectors(panel: Panel, rows: Sequence[Example]) -> np.ndarray:
    return panel.runtime.features([row.text for row in rows], [row.text_pair for row in rows], normalise=True)


def _answers(
    panel: Panel, specialists: Sequence[Specialist], settings: EvaluationSettings, progress: Progress
) -> dict[tuple[str, str], list[str]]:
    """(specialist, task) → its answer to each test row; a specialist answers in its own labels, whatever is asked."""
    answers: dict[tuple[str, str], list[str]] = {}
    for one in specialists:
        result = panel.judge(one.task, one.folder, one.head, settings, progress)
        answers[one.name, one.task.name] = [item.predicted for item in result.items]
        for other in specialists:  # a text sent astray can still be right where labels are shared
            if other.task.name != one.task.name and set(other.task.labels) == set(one.task.labels):
                astray = panel.judge(other.task, one.folder, one.head, settings, progress)
                answers[one.name, other.task.name] = [item.predicted for item in astray.items]
            elif other.task.name == one.task.name and other.name != one.name:
                answers.setdefault((one.name, other.task.name), answers[one.name, one.task.name])
    return answers


def summary(scores: Sequence[TaskScore]) -> dict[str, Any]:
    """The mean over tasks with its standard error, the worst task, and every task."""
    if not scores:
        return {"score": None, "standard_error": None, "tasks": []}
    worst = min(scores, key=lambda one: one.score)
    return {
        "score": float(np.mean([one.score for one in scores])),
        "standard_error": float(np.sqrt(sum(one.standard_error**2 for one in scores)) / len(scores)),
        "routed": float(np.mean([one.routed for one in scores])),
        "worst": worst.task,
        "tasks": [asdict(one) for one in scores],
    }


def falls(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tasks that fall by more than chance explains (McNemar on the same items), in sentences."""
    known = {str(one["task"]): one for one in after}
    found = []
    for old in before:
        new = known.get(str(old["task"]))
        if new is None:
            found.append(f"{old['task']} is no longer covered.")
        elif len(new["right"]) == len(old["right"]):
            result = pair([mark == "1" for mark in new["right"]], [mark == "1" for mark in old["right"]], draws=10)
            if result.is_worse:
                found.append(f"{old['task']} falls from {old['score']:.3f} to {new['score']:.3f} (p = {result.p:.3f}).")
    return found
