"""Judge bases and adapters on the test splits of tasks, with one load of the base and of each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adapters.runtime.bases import library_versions
from adapters.runtime.batching import Batches
from adapters.runtime.examples import Example
from adapters.runtime.linear import choose_strength, fit_linear
from adapters.runtime.progress import Progress, silent
from adapters.runtime.prompts import prompt_of
from adapters.runtime.runtime import Runtime
from adapters.runtime.writing import retention, write_on
from merges.evaluation import generation, metrics
from merges.evaluation.declared import (
    EvaluationFault,
    EvaluationResult,
    EvaluationSettings,
    Item,
    LocalTask,
    Protocol,
)

__all__ = ["EvaluationFault", "EvaluationResult", "EvaluationSettings", "Item", "LocalTask", "Panel", "evaluate"]
SUBJECT = "subject"


@dataclass
class _Scored:
    """What a pass gives: log-scores (items, labels), and what only some protocols know."""

    protocol: Protocol
    scores: np.ndarray
    written: list[str] | None = None
    more: dict[str, float] = field(default_factory=dict)


class Panel:
    """One loaded base that judges any number of adapters on any number of tasks: the base is loaded once, and a task's
    texts are tokenised once."""

    def __init__(self, base: Path, *, max_length: int = 256, device: str | None = None, threads: int = 1) -> None:
        """Load the base. Raises RuntimeFault."""
        self.runtime = Runtime(base, device=device, threads=threads, max_length=max_length)
        self._prepared: dict[tuple[int, int], tuple[LocalTask, Batches]] = {}
        self._attached: tuple[Path, Path | None] | None = None

    def judge(
        self,
        task: LocalTask,
        adapter: Path | None = None,
        head: Path | None = None,
        settings: EvaluationSettings | None = None,
        progress: Progress = silent,
    ) -> EvaluationResult:
        """Score an adapter (or the bare base, or a merge with one of its head files) on the task's test split.

        Protocol "head": the adapter's head, or `head`. "linear-probe": a base or an adapter without head; logistic
        regression on mean-pooled features of the train split. "label-likelihood": a language model (causal or
        encoder-decoder); the label of the highest log-likelihood. "generation": it writes the label. `progress` may
        raise to cancel.
        Raises EvaluationFault for a task without test split or a head that does not fit it, RuntimeFault for bad files.
        """
        chosen = settings or EvaluationSettings()
        chosen.check()
        task.check()
        subject = self._attach(adapter, head)
        scored = self._scores(subject, task, chosen, progress)
        return _judged(task, scored, str(self.runtime.device), chosen)

    def _attach(self, adapter: Path | None, head: Path | None) -> str | None:
        if adapter is None:
            return None
        if self._attached != (adapter, head):
            if self._attached is not None:
                self.runtime.detach(SUBJECT)
            self._attached = None
            self.runtime.attach(SUBJECT, adapter, head)
            self._attached = (adapter, head)
        return SUBJECT

    def _scores(
        self, subject: str | None, task: LocalTask, settings: EvaluationSettings, progress: Progress
    ) -> _Scored:
        runtime = self.runtime
        if runtime.task == "generate":
            return _language(runtime, subject, task, settings, progress)
        if settings.generate or settings.shots:
            raise EvaluationFault("This base reads texts and writes none: it takes no prompts, shots or generation.")
        if subject is not None and runtime.outputs(subject) is not None:
            columns = _columns(runtime, subject, task)
            logits = runtime.logits(self._batches(task, settings.batch_size), subject, progress=progress)
            return _Scored("head", _log_softmax(logits.astype(np.float64))[:, columns])
        return _Scored("linear-probe", _probe(runtime, subject, task, settings, progress))

    def _batches(self, task: LocalTask, batch_size: int) -> Batches:
        key = (id(task), batch_size)
        if key not in self._prepared:
            # the task is kept beside its tokens: its id stays its own
            self._prepared[key] = (task, self.runtime.prepare(*_texts(task.test), batch_size=batch_size))
        return self._prepared[key][1]


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
    """One subject on one task: a `Panel` for a single sitting. Raises as `Panel.judge`."""
    chosen = settings or EvaluationSettings()
    task.check()
    panel = Panel(base, max_length=chosen.max_length, device=device, threads=threads)
    return panel.judge(task, adapter, head, chosen, progress)


def _prompts(task: LocalTask, settings: EvaluationSettings) -> list[str]:
    """The prompt of each test row, with the same solved examples before each (drawn once, by the seed)."""
    if settings.shots > len(task.train):
        raise EvaluationFault(f"{settings.shots} shots need as many train rows; {task.name} has {len(task.train)}.")
    drawn = np.random.default_rng(settings.seed).permutation(len(task.train))[: settings.shots]
    solved = [
        f"{prompt_of(row.text, row.text_pair, settings.template)} {row.label}"
        for row in (task.train[index] for index in drawn)
    ]
    return ["\n\n".join([*solved, prompt_of(row.text, row.text_pair, settings.template)]) for row in task.test]


def _language(
    runtime: Runtime, subject: str | None, task: LocalTask, settings: EvaluationSettings, progress: Progress
) -> _Scored:
    prompts, more = _prompts(task, settings), {}
    if settings.retention and subject is not None:
        texts = [row.text for row in task.test[: settings.retention]]
        more = retention(runtime, texts, subject, batch_size=settings.batch_size, progress=progress)
    if settings.generate:
        written = write_on(
            runtime, prompts, adapter=subject, most_tokens=settings.most_tokens, batch_size=settings.batch_size,
            progress=progress,
        )  # fmt: skip
        return _Scored("generation", np.zeros((len(prompts), len(task.labels))), written, more)
    sums, counts = runtime.label_likelihoods(
        prompts, task.labels, adapter=subject, batch_size=settings.batch_size, progress=progress
    )
    weighed = {"sum": sums, "token": sums / counts, "character": sums / [max(len(label), 1) for label in task.labels]}
    truth = np.array([task.labels.index(row.label) for row in task.test])
    more |= {f"accuracy_by_{name}": float((values.argmax(1) == truth).mean()) for name, values in weighed.items()}
    return _Scored("label-likelihood", weighed[settings.weigh], None, more)


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


def _judged(task: LocalTask, scored: _Scored, device: str, settings: EvaluationSettings) -> EvaluationResult:
    if not np.isfinite(scored.scores).all():
        raise EvaluationFault("The model's outputs are not numbers (NaN or infinite). Check the adapter's weights.")
    if scored.written is not None:
        return _judged_written(task, scored, device, settings)
    best = scored.scores.argmax(1)
    expected = [row.label for row in task.test]
    predicted = [task.labels[index] for index in best]
    items = tuple(
        Item(row, truth, guess, float(scored.scores[row, best[row]]))
        for row, (truth, guess) in enumerate(zip(expected, predicted, strict=True))
    )
    measures = {
        "accuracy": metrics.accuracy(expected, predicted),
        "macro_f1": metrics.macro_f1(expected, predicted),
        "mcc": metrics.mcc(expected, predicted),
    }
    intervals = {"accuracy": metrics.wilson_interval(sum(item.right for item in items), len(items))}
    for name, measure in (("macro_f1", metrics.macro_f1), ("mcc", metrics.mcc)):
        intervals[name] = metrics.bootstrap_interval(
            measure, expected, predicted, draws=settings.draws, seed=settings.seed
        )
    confusion = metrics.confusion_matrix(expected, predicted, task.labels)
    return _result(task, scored, items, measures | scored.more, intervals, confusion.tolist(), device, settings)


def _judged_written(task: LocalTask, scored: _Scored, device: str, settings: EvaluationSettings) -> EvaluationResult:
    """Answers written in words: right is an exact match; there is no confusion matrix of free text."""
    written = scored.written or []
    expected = [row.label for row in task.test]
    judged = generation.judge(expected, written)
    items = tuple(
        # the expected label stands for a right answer in whatever case it was written
        Item(row, truth, truth if right else answer, score)
        for row, (truth, answer, right, score) in enumerate(
            zip(expected, written, judged["exact_match"], judged["chrf"], strict=True)
        )
    )
    measures, intervals = dict(scored.more), {}
    for name, values in judged.items():
        mean, error = generation.mean_and_error(values)
        measures[name], intervals[name] = mean, (max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error))
    right = sum(item.right for item in items)
    measures["accuracy"], intervals["accuracy"] = right / len(items), metrics.wilson_interval(right, len(items))
    return _result(task, scored, items, measures, intervals, [], device, settings)


def _result(
    task: LocalTask, scored: _Scored, items: tuple[Item, ...], measures: dict[str, float],
    intervals: dict[str, tuple[float, float]], confusion: list[list[int]], device: str, settings: EvaluationSettings,
) -> EvaluationResult:  # fmt: skip
    return EvaluationResult(
        scores=measures,
        intervals=intervals,
        n=len(items),
        standard_error=metrics.standard_error(measures["accuracy"], len(items)),
        items=items,
        labels=task.labels,
        confusion=tuple(tuple(row) for row in confusion),
        protocol=scored.protocol,
        device=device,
        versions=library_versions(),
        seed=settings.seed,
    )


def _texts(rows: Sequence[Example]) -> tuple[list[str], list[str | None]]:
    return [row.text for row in rows], [row.text_pair for row in rows]


def _log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
