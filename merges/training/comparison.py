"""The specialist beside what else its examples could do: prompting, the nearest specialist, a linear probe.

Every row is judged on the same test texts, with an interval, the operations of one prediction and its measured time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from adapters.runtime.bases import read_config
from adapters.runtime.choices import passes
from adapters.runtime.examples import Example
from adapters.runtime.linear import fit_linear
from adapters.runtime.progress import Progress, silent
from adapters.runtime.prompts import DEFAULT_TEMPLATE, prompt_of
from adapters.runtime.runtime import Runtime
from merges.evaluation.metrics import mcnemar_exact, wilson_interval
from merges.training.estimates import BaseSize
from merges.training.in_context import asked, in_context_scores, shots_in_order

CONTEXT = 1_536
"""Tokens of examples in a prompt at most: on a CPU more would take minutes a prediction."""
STRENGTH = 10.0


@dataclass
class Way:
    """One way to label the test texts.

    `flops` are the operations of one prediction read on its own, `flops_cached` those left when the examples in the
    prompt are kept as keys and values between predictions; `seconds` is measured. `orders` are accuracies of several
    orders of the examples: then `accuracy`, `seconds` and operations are means over them, `right` and `shots` means
    rounded to whole ones, `interval` is that of the mean number of right answers, and `p` the median of the orders'.
    `note` says what cannot be had.
    """

    name: str
    accuracy: float | None = None
    right: int = 0
    n: int = 0
    interval: tuple[float, float] | None = None
    flops: float | None = None
    flops_cached: float | None = None
    seconds: float | None = None
    orders: list[float] = field(default_factory=list)
    shots: int = 0
    note: str = ""
    p: float | None = None


def compare(
    base: Path,
    specialist: Path,
    examples: Sequence[Example],
    test: Sequence[Example],
    labels: Sequence[str],
    *,
    nearest: Path | None = None,
    nearest_template: str = "",
    orders: int = 3,
    max_length: int = 128,
    template: str = DEFAULT_TEMPLATE,
    progress: Progress = silent,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """Rows as plain values, the specialist first; `p` is McNemar's exact test against it (two-sided).

    `max_length` and `template` are those the specialist was taught with; every way reads texts so, but the nearest one
    is asked with the prompt that it was taught with, where that is known.

    Raises RuntimeFault for a base or adapter that cannot be run.
    """
    runtime = Runtime(base, max_length=max_length, threads=threads)
    judge = _Judge(runtime, list(test), list(labels), _size(base, runtime), template)
    runtime.attach("specialist", specialist)
    progress(0, 4, "Asking the specialist")
    ways = [judge.adapter("specialist", "Specialist", examples)]
    runtime.detach("specialist")
    progress(1, 4, "Asking the base without examples")
    ways.append(judge.zero_shot())
    progress(2, 4, "Reading examples in the prompt")
    ways.append(judge.few_shot(examples, orders, progress))
    if nearest is not None:
        runtime.attach("nearest", nearest)
        ways.append(judge.asking_with(nearest_template or template).adapter("nearest", "Nearest specialist", examples))
        runtime.detach("nearest")
    progress(3, 4, "Fitting a linear probe")
    ways.append(judge.probe(None, "Linear probe on frozen features", examples))
    judge.against_first(ways)
    return [asdict(way) for way in ways]


def _size(base: Path, runtime: Runtime) -> BaseSize:
    parameters = sum(tensor.numel() for tensor in runtime.plain_model.parameters())
    return BaseSize.of(read_config(base), parameters, causal=runtime.task == "generate")


class _Judge:
    """Test texts on one loaded base; remembers what each way got right, to compare them text by text."""

    def __init__(self, runtime: Runtime, test: list[Example], labels: list[str], size: BaseSize, template: str) -> None:
        self.runtime, self.test, self.labels, self.size, self.template = runtime, test, labels, size, template
        self.right: dict[str, list[np.ndarray]] = {}
        self.causal = runtime.task == "generate"
        read = runtime.prepare(*_texts(test))
        self.read = sum(int(batch["attention_mask"].sum()) for batch in read.tensors) / len(test)
        heads, self.tails = asked(runtime, test, labels, template) if self.causal else ([], [])
        self.asked, self.longest = (fmean(map(len, heads)), max(map(len, heads))) if heads else (0.0, 0)

    def asking_with(self, template: str) -> _Judge:
        """The same judge with another prompt; what was right is remembered in one place."""
        other = _Judge(self.runtime, self.test, self.labels, self.size, template)
        other.right = self.right
        return other

    def adapter(self, name: str, title: str, examples: Sequence[Example]) -> Way:
        """An attached adapter by its head or label likelihood; by a probe if its head has other labels."""
        known = self.runtime.labels(name)
        if self.causal:
            return self._timed(title, lambda: self._likelihoods(name), self._flops_of_labels(name))
        if self.runtime.outputs(name) == len(self.labels) and (known is None or set(known) == set(self.labels)):
            columns = [known.index(label) for label in self.labels] if known else list(range(len(self.labels)))
            texts, pairs = _texts(self.test)
            return self._timed(
                title,
                lambda: self.runtime.logits(texts, name, pairs)[:, columns],
                self._flops(self._virtual(name) + self.read),
            )
        way = self.probe(name, title, examples)
        way.note = "Its own labels are others, so its features are judged by a linear probe."
        return way

    def zero_shot(self) -> Way:
        """The base alone: label likelihood, or for an encoder the label whose name is most like the text."""
        if self.causal:
            return self._timed("Zero-shot prompt", lambda: self._likelihoods(None), self._flops_of_labels(None))
        texts, pairs = _texts(self.test)

        def alike() -> np.ndarray:
            names = self.runtime.features([label.replace("_", " ") for label in self.labels], normalise=True)
            return self.runtime.features(texts, pairs, normalise=True) @ names.T

        way = self._timed("Zero-shot: label name most like the text", alike, self._flops(self.read))
        way.note = "An encoder reads no instruction; the label names' vectors are compared with the text's."
        return way

    def few_shot(self, examples: Sequence[Example], orders: int, progress: Progress) -> Way:
        """The examples in the prompt, in several orders. Encoders cannot."""
        if not self.causal:
            return Way("In-context learning", note="An encoder cannot read examples in a prompt.")
        runtime = self.runtime
        places = int(getattr(runtime.plain_model.config, "max_position_embeddings", 0) or 2 * CONTEXT)
        room = min(CONTEXT, places - self.longest - max(map(len, self.tails)))
        kept = runtime.choices(None).together
        ways = []
        for order in range(orders):
            ids, count = shots_in_order(
                examples, runtime.tokenizer, order, room, self.template, longest=runtime.max_length
            )
            way = self._timed(
                "In-context learning",
                partial(
                    in_context_scores, runtime, ids, self.test, self.labels, template=self.template, progress=progress
                ),
                self._flops_of_labels(None, prefix=len(ids)),
            )
            way.flops_cached = self._flops_of_labels(None, before=len(ids)) if kept else None
            way.shots = count
            ways.append(way)
        right = round(fmean(way.right for way in ways))
        counts = sorted(way.shots for way in ways)
        shots = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
        return Way(
            "In-context learning", fmean(way.accuracy or 0.0 for way in ways), right, len(self.test),
            wilson_interval(right, len(self.test)), fmean(way.flops or 0.0 for way in ways),
            fmean(way.flops_cached or 0.0 for way in ways) if kept else None,
            fmean(way.seconds or 0.0 for way in ways), [way.accuracy or 0.0 for way in ways], round(fmean(counts)),
            f"{shots} examples in the prompt, {orders} orders{'; their keys and values are kept' if kept else ''}.",
        )  # fmt: skip

    def probe(self, name: str | None, title: str, examples: Sequence[Example]) -> Way:
        """Logistic regression on the frozen features of the base or of an attached adapter."""
        texts, pairs = _texts(examples)
        known = self.runtime.features(texts, pairs, adapter=name, normalise=True).astype(np.float64)
        targets = [self.labels.index(row.label) for row in examples]
        matrix, bias = fit_linear(known, targets, len(self.labels), strength=STRENGTH)
        others, other_pairs = _texts(self.test)

        def predict() -> np.ndarray:
            features = self.runtime.features(others, other_pairs, adapter=name, normalise=True)
            return features.astype(np.float64) @ matrix.T + bias

        return self._timed(title, predict, self._flops(self.read))

    def against_first(self, ways: list[Way]) -> None:
        """Whether another way differs from the first by more than chance, text by text; of orders the median p."""
        first = self.right[ways[0].name][0]
        for way in ways[1:]:
            others = self.right.get(way.name)
            if others:
                way.p = median(mcnemar_exact(int((first & ~it).sum()), int((it & ~first).sum())) for it in others)

    def _likelihoods(self, name: str | None) -> np.ndarray:
        prompts = [prompt_of(row.text, row.text_pair, self.template) for row in self.test]
        return self.runtime.label_scores(prompts, self.labels, adapter=name)

    def _virtual(self, name: str | None) -> int:
        """Input vectors that a prompt-tuned adapter puts before the text."""
        config: Any = getattr(self.runtime.model(name)[0], "active_peft_config", None)
        return int(config.num_virtual_tokens) if getattr(config, "is_prompt_learning", False) else 0

    def _timed(self, title: str, predict: Callable[[], np.ndarray], flops: float) -> Way:
        started = time.perf_counter()
        best = predict().argmax(1)
        seconds = (time.perf_counter() - started) / len(self.test)
        right = np.array([self.labels[index] == row.label for index, row in zip(best, self.test, strict=True)])
        self.right.setdefault(title, []).append(right)
        count = int(right.sum())
        return Way(
            title, count / len(right), count, len(right), wilson_interval(count, len(right)), flops=flops,
            seconds=seconds,
        )  # fmt: skip

    def _flops_of_labels(self, name: str | None, *, prefix: float = 0.0, before: float = 0.0) -> float:
        """Operations of scoring every label behind one prompt: `prefix` tokens are read again, `before` are kept."""
        head = self._virtual(name) + prefix + self.asked
        parts = passes(self.tails, together=self.runtime.choices(name).together)
        return sum(self._flops(head + tail, before=before, predicted=places) for tail, places in parts)

    def _flops(self, tokens: float, *, before: float = 0.0, predicted: int = 0) -> float:
        """Operations of a forward pass over `tokens` tokens behind `before` tokens that are kept.

        2 for each parameter and token, 4 for each pair of tokens that attend to one another, layer and width (half of
        them for a causal model, which looks back only), and the vocabulary at the `predicted` places.
        """
        size = self.size
        pairs = tokens * before + tokens * tokens * (0.5 if self.causal else 1.0)
        words = 2 * predicted * size.vocabulary * size.hidden
        return 2 * size.worked * tokens + 4 * size.layers * size.hidden * pairs + words


def _texts(rows: Sequence[Example]) -> tuple[list[str], list[str | None]]:
    return [row.text for row in rows], [row.text_pair for row in rows]
