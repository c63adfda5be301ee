"""One loaded base that judges many adapters on a few tasks, item by item: by the task's head, or as a language model
by the labels' likelihoods behind the text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.examples import Example
from adapters.runtime.prompts import prompt_of
from adapters.runtime.runtime import Runtime
from adapters.runtime.writing import retention

Scores = npt.NDArray[np.float64]
BATCH = 64


@dataclass(frozen=True)
class JudgedTask:
    """A task with the head that answers it (heads/*.safetensors of a merge) and the examples to judge on.

    Without a head the adapter's own answers; language models have none.
    """

    name: str
    labels: tuple[str, ...]
    head: Path | None
    validation: Sequence[Example]
    test: Sequence[Example]


@dataclass(frozen=True)
class Verdict:
    """The log-probabilities (nats) of all labels for each example, and which label is the right one."""

    scores: npt.NDArray[np.float64]
    wanted: npt.NDArray[np.int64]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """For each example whether the prediction was right."""
        found: npt.NDArray[np.bool_] = self.scores.argmax(1) == self.wanted
        return found

    @property
    def log_probability(self) -> npt.NDArray[np.float64]:
        """For each example the log-probability of the right label."""
        return self.scores[np.arange(len(self.wanted)), self.wanted]

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return float(self.right.mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(-self.log_probability.mean())


def ensemble(verdicts: Sequence[Verdict]) -> Verdict:
    """The mean of several subjects' log-probabilities on the same examples: as many passes for each text."""
    scores = np.mean([verdict.scores for verdict in verdicts], axis=0)
    scores -= np.log(np.exp(scores).sum(1, keepdims=True))
    return Verdict(scores, verdicts[0].wanted)


class Judge:
    """Keeps the base in memory; adapters come and go. Not for use by two threads at once."""

    def __init__(self, base: Path, *, max_length: int = 128, threads: int = 1) -> None:
        """Load the base. Raises RuntimeFault."""
        self._runtime = Runtime(base, threads=threads, max_length=max_length)
        self._numbers = itertools.count()

    @property
    def writes(self) -> bool:
        """Is the base a language model that continues texts?"""
        return self._runtime.family == "causal"

    def retention(self, adapter: Path, texts: Sequence[str]) -> dict[str, float]:
        """How much of the base an adapter keeps on texts no specialist was taught on: see `writing.retention`."""
        with self._attached(adapter, None) as name:
            return retention(self._runtime, texts, name)

    def judge(
        self, adapter: Path, task: JudgedTask, examples: Sequence[Example], after: Callable[[], None] = lambda: None
    ) -> Verdict:
        """The adapter in a folder, with the task's head. `after` is called when it is done. Raises RuntimeFault."""
        with self._attached(adapter, task.head) as name:
            labels = (self._runtime.labels(name) if self._has_heads else None) or task.labels
            scores = (self._by_head if self._has_heads else self._by_likelihood)(name, task, labels, examples)
        after()
        highest = scores.max(1, keepdims=True)
        scores = scores - np.log(np.exp(scores - highest).sum(1, keepdims=True)) - highest
        wanted = np.array([labels.index(row.label) for row in examples])
        return Verdict(scores, wanted.astype(np.int64))

    @property
    def _has_heads(self) -> bool:
        return self._runtime.task == "classify"

    def _by_head(self, name: str, task: JudgedTask, labels: Sequence[str], examples: Sequence[Example]) -> Scores:
        if set(labels) != set(task.labels) or self._runtime.outputs(name) != len(labels):
            raise RuntimeFault(f"The head for {task.name} does not answer with that task's labels.")
        second = [row.text_pair for row in examples]
        logits = self._runtime.logits([row.text for row in examples], name, second, batch_size=BATCH)
        return logits.astype(np.float64)

    def _by_likelihood(self, name: str, task: JudgedTask, labels: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Mean log-likelihood of each label's tokens, as evaluations weigh them too."""
        prompts = [prompt_of(row.text, row.text_pair) for row in examples]
        return self._runtime.label_scores(prompts, labels, adapter=name)

    @contextmanager
    def _attached(self, adapter: Path, head: Path | None) -> Iterator[str]:
        name = f"judged-{next(self._numbers)}"
        self._runtime.attach(name, adapter, head)
        try:
            yield name
        finally:
            self._runtime.detach(name)
