"""Judge a base or an adapter on a task's test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adapters.runtime.bases import library_versions
from adapters.runtime.examples import Example
from adapters.runtime.likelihood import DEFAULT_TEMPLATE, prompt_of
from adapters.runtime.linear import choose_strength, fit_linear
from adapters.runtime.runtime import Progress, Runtime, silent
from merges.evaluation import metrics

Protocol = Literal["head", "linear-probe", "label-likelihood"]
SUBJECT = "subject"


class EvaluationFault(ValueError):
    """An evaluation cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class LocalTask:
    """A task in memory: its labels in the card's order and its splits."""

    labels: tuple[str, ...]
    test: Sequence[Example]
    train: Sequence[Example] = ()
    validation: Sequence[Example] = ()
    name: str = ""

    def check(self) -> None:
        """Raise EvaluationFault when there is nothing to judge on."""
        if not self.test:
            raise EvaluationFault(f"The task {self.name} has no test split. Add test.jsonl, test.csv or test.parquet.")
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise EvaluationFault(f"The task {self.name} needs at least two different labels on its card.")
        for part, rows in (("test", self.test), ("train", self.train), ("validation", self.validation)):
            for number, row in enumerate(rows, start=1):
                if row.label not in self.labels:
                    raise EvaluationFault(
                        f"Row {number} of {part} carries the label {row.label!r}, which the task's card does not name."
                    )


@dataclass(frozen=True)
class EvaluationSettings:
    """How to judge: texts a batch, tokens a text at most, seed of the bootstrap, and the prompt for causal models."""

    batch_size: int = 32
    max_length: int = 256
    seed: int = 0
    draws: int = 1000
    template: str = DEFAULT_TEMPLATE


@dataclass(frozen=True, slots=True)
class Item:
    """One test row: its number from 0, what was expected and predicted, and the score of the prediction."""

    row: int
    expected: str
    predicted: str
    score: float

    @property
    def right(self) -> bool:
        """Whether the prediction is the expected label."""
        return self.expected == self.predicted


@dataclass(frozen=True)
class EvaluationResult:
    """Scores (0 to 1; mcc -1 to 1), their 95 % intervals, every item, and what is needed to get them again."""

    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    n: int
    standard_error: float
    items: tuple[Item, ...]
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    protocol: Protocol
    device: str
    versions: Mapping[str, str]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return asdict(self)


def evaluate(
    base: Path,
    adapter: Path | None,
    task: LocalTask,
    settings: EvaluationSettings | None = None,
    progress: Progress = silent,
    *,
    head: Path | None = None,
    device: str | None = None,
    threads: int = 1,
) -> EvaluationResult:
    """Score an adapter (or the bare base, or a merge with one of its head files) on the task's test split.

    Protocol "head": the adapter's head, or `head`, one of a merge's heads/*.safetensors. "linear-probe": a base or an
    adapter without head; logistic regression on mean-pooled features of the train split. "label-likelihood": a causal
    language model; the label of the highest log-likelihood per token. `progress` may raise to cancel. Raises
    EvaluationFault for a task without test split or a head that does not fit the task, RuntimeFault for bad files.
    """
    chosen = settings or EvaluationSettings()
    task.check()
    runtime = Runtime(base, device=device, threads=threads, max_length=chosen.max_length)
    subject = None
    if adapter is not None:
        runtime.attach(SUBJECT, adapter, head)
        subject = SUBJECT
    protocol, scores = _scores(runtime, subject, task, chosen, progress)
    return _judged(task, scores, protocol, str(runtime.device), chosen)


def _scores(
    runtime: Runtime, subject: str | None, task: LocalTask, settings: EvaluationSettings, progress: Progress
) -> tuple[Protocol, np.ndarray]:
    if runtime.task == "generate":
        prompts = [prompt_of(row.text, row.text_pair, settings.template) for row in task.test]
        scores = runtime.label_scores(
            prompts, task.labels, adapter=subject, batch_size=settings.batch_size, progress=progress
        )
        return "label-likelihood", scores
    if subject is not None and runtime.outputs(subject) is not None:
        columns = _columns(runtime, subject, task)
        texts, pairs = _texts(task.test)
        logits = runtime.logits(texts, subject, pairs, batch_size=settings.batch_size, progress=progress)
        return "head", _log_softmax(logits.astype(np.float64))[:, columns]
    return "linear-probe", _probe(runtime, subject, task, settings, progress)


def _columns(runtime: Runtime, subject: str, task: LocalTask) -> list[int]:
    outputs, labels = runtime.outputs(subject), runtime.labels(subject)
    if outputs != len(task.labels):
        raise EvaluationFault(
            f"The adapter's head has {outputs} outputs, but the task {task.name} has {len(task.labels)} labels. "
            "Choose the task the adapter was made for, or the head file of that task."
        )
    if labels is None:
        return list(range(len(task.labels)))
    if len(labels) != outputs or set(labels) != set(task.labels):
        strange = sorted(set(labels) - set(task.labels))
        raise EvaluationFault(
            f"The adapter's labels.json does not name the labels of the task {task.name}"
            + (f" ({strange[0]!r} is not one of them)." if strange else ".")
            + " Choose the task the adapter was made for."
        )
    return [labels.index(label) for label in task.labels]


def _probe(
    runtime: Runtime, subject: str | None, task: LocalTask, settings: EvaluationSettings, progress: Progress
) -> np.ndarray:
    if len({row.label for row in task.train}) < 2:
        raise EvaluationFault(
            f"A base without head is judged by a linear probe, but the task {task.name} has no train split for it."
        )
    splits = [task.train, task.validation, task.test]
    joined = [row for split in splits for row in split]
    texts, pairs = _texts(joined)
    features = runtime.features(
        texts, pairs, adapter=subject, batch_size=settings.batch_size, normalise=True, progress=progress
    ).astype(np.float64)
    ends = np.cumsum([len(split) for split in splits])
    train, validation, test = features[: ends[0]], features[ends[0] : ends[1]], features[ends[1] :]
    targets = [task.labels.index(row.label) for row in joined]
    known, checked = (train, targets[: ends[0]]), (validation, targets[ends[0] : ends[1]])
    strength = choose_strength(known, checked, len(task.labels)) if len(validation) else 10.0
    matrix, bias = fit_linear(*known, len(task.labels), strength=strength)
    return _log_softmax(test @ matrix.T + bias)


def _judged(
    task: LocalTask, scores: np.ndarray, protocol: Protocol, device: str, settings: EvaluationSettings
) -> EvaluationResult:
    if not np.isfinite(scores).all():
        raise EvaluationFault("The model's outputs are not numbers (NaN or infinite). Check the adapter's weights.")
    best = scores.argmax(1)
    expected = [row.label for row in task.test]
    predicted = [task.labels[index] for index in best]
    items = tuple(
        Item(row, truth, guess, float(scores[row, best[row]]))
        for row, (truth, guess) in enumerate(zip(expected, predicted, strict=True))
    )
    share = metrics.accuracy(expected, predicted)
    measures = {
        "accuracy": share,
        "macro_f1": metrics.macro_f1(expected, predicted),
        "mcc": metrics.mcc(expected, predicted),
    }
    intervals = {
        "accuracy": metrics.wilson_interval(sum(item.right for item in items), len(items)),
        "macro_f1": metrics.bootstrap_interval(
            metrics.macro_f1, expected, predicted, draws=settings.draws, seed=settings.seed
        ),
    }
    confusion = metrics.confusion_matrix(expected, predicted, task.labels)
    return EvaluationResult(
        scores=measures,
        intervals=intervals,
        n=len(items),
        standard_error=metrics.standard_error(share, len(items)),
        items=items,
        labels=task.labels,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        protocol=protocol,
        device=device,
        versions=library_versions(),
        seed=settings.seed,
    )


def _texts(rows: Sequence[Example]) -> tuple[list[str], list[str | None]]:
    return [row.text for row in rows], [row.text_pair for row in rows]


def _log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
