"""What an evaluation takes and gives: a task in memory, settings, items and results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from adapters.runtime.examples import Example
from adapters.runtime.prompts import DEFAULT_TEMPLATE

OWN_ROWS = "own-rows"
"""As `lm_eval`: not one of its tasks, but this task's rows."""
Protocol = Literal["head", "linear-probe", "label-likelihood", "generation"]


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
    """How to judge: texts a batch, tokens a text at most, and the seed of bootstrap and shots.

    For language models also: the prompt, how many solved examples stand before it (`shots`, from the train split),
    whether the model chooses a label or writes one (`generate`), how a label's likelihood is weighed against its
    length, and on how many of the task's texts retention is measured (0: not). `lm_eval` names a task of
    lm-evaluation-harness that runs instead, where the worker has it ("own-rows": this task's rows, by that harness).
    """

    batch_size: int = 32
    max_length: int = 256
    seed: int = 0
    draws: int = 1000
    template: str = DEFAULT_TEMPLATE
    shots: int = 0
    generate: bool = False
    weigh: Literal["token", "sum", "character"] = "token"
    most_tokens: int = 16
    retention: int = 0
    lm_eval: str = ""

    def check(self) -> None:
        """Raise EvaluationFault for what cannot be meant."""
        limits = {"batch_size": (1, 512), "max_length": (8, 4096), "draws": (10, 10_000), "shots": (0, 64),
                  "most_tokens": (1, 256), "retention": (0, 2000)}  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise EvaluationFault(f"{name} must be from {low} to {high}.")
        if "{text}" not in self.template or len(self.template) > 4000:
            raise EvaluationFault("The template must hold {text}, and 4,000 letters at most.")
        if self.lm_eval and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", self.lm_eval):
            raise EvaluationFault("lm_eval is the name of one of its tasks, or own-rows.")
        if self.weigh not in ("token", "sum", "character"):
            raise EvaluationFault("weigh must be token, sum or character.")


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
