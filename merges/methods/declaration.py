"""How a method declares itself; forms, API schema, recipe linter and test matrix are made from these declarations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from merges.methods.deltas import Array, Delta

Value = float | int | str
Parameters = Mapping[str, Any]
LONGEST_SHOWN = 80
"""Letters of a value that a sentence about it repeats."""


@dataclass(frozen=True)
class Reference:
    """Where a method comes from."""

    authors: str
    title: str
    year: int
    url: str


@dataclass(frozen=True)
class Parameter:
    """One setting of a method: its kind, range and what it does, in words for a form.

    `automatic` gives the value from the number of inputs when the recipe says "auto" (then `default` is "auto").
    `per_input` settings may be given for single inputs too. With `above_minimum` the minimum itself is excluded.
    """

    name: str
    kind: Literal["float", "int", "choice"]
    default: Value
    help: str
    minimum: float | None = None
    maximum: float | None = None
    above_minimum: bool = False
    choices: tuple[str, ...] = ()
    per_input: bool = False
    automatic: Callable[[int], float] | None = None

    def problem(self, value: Any) -> str | None:
        """One sentence saying why `value`, which may be anything, cannot be used, or None if it can."""
        if value == "auto" and self.automatic is not None:
            return None
        if self.kind == "choice":
            allowed = ", ".join(self.choices)
            return None if value in self.choices else f"{self.name} must be one of {allowed}, not {shown(value)}."
        wanted = int if self.kind == "int" else int | float
        if isinstance(value, bool) or not isinstance(value, wanted) or not is_finite(value):
            kind = "a whole number" if self.kind == "int" else "a finite number"
            return f"{self.name} must be {kind}{self.range_text}, not {shown(value)}."
        low = self.minimum is not None and (value < self.minimum or (self.above_minimum and value == self.minimum))
        high = self.maximum is not None and value > self.maximum
        return f"{self.name} must be{self.range_text}, not {shown(value)}." if low or high else None

    @property
    def range_text(self) -> str:
        """The allowed range as words that follow "a number", empty if every number is allowed."""
        low = None if self.minimum is None else f"{'above' if self.above_minimum else 'at least'} {self.minimum:g}"
        high = None if self.maximum is None else f"at most {self.maximum:g}"
        return " " + " and ".join(part for part in (low, high) if part) if low or high else ""


Statistic = Literal["fisher", "gram", "prototype"]


@dataclass(frozen=True)
class Statistics:
    """What was measured of one input at one layer, where its sidecar has it.

    `fisher`: diagonal Fisher information of ΔW, of ΔW's shape, divided by its global L2 norm, which is `fisher_norm`.
    `gram`: second moment XᵀX/tokens of the layer's inputs, (n × n), or its diagonal (n).
    """

    fisher: Delta | None = None
    fisher_norm: float = 1.0
    gram: Array | None = None


@dataclass(frozen=True)
class Source:
    """What one input brings to a layer: its delta, its weight, its settings, and who it is (a stable text, for seeds).

    `keep` is how many entries of this layer survive trimming, where a survey of the whole adapter decided that.
    """

    delta: Delta
    weight: float
    identity: str
    parameters: Parameters = field(default_factory=dict)
    keep: int | None = None
    statistics: Statistics = field(default_factory=Statistics)


@dataclass(frozen=True)
class Layer:
    """The same weight in every input. An input without it brings a zero delta. `shape` is that of ΔW."""

    name: str
    shape: tuple[int, int]
    sources: tuple[Source, ...]

    @property
    def deltas(self) -> list[Delta]:
        """The inputs' deltas in recipe order."""
        return [source.delta for source in self.sources]

    @property
    def weights(self) -> list[float]:
        """The inputs' weights in recipe order."""
        return [source.weight for source in self.sources]


Layers = Callable[[], Iterable[Layer]]
Run = Callable[[Layer, Parameters], Delta]
Survey = Callable[[Layers, Parameters], dict[str, Sequence[int | None]]]


@dataclass(frozen=True)
class Method:
    """A way to merge.

    `run` merges one layer. `exact_on_lora`: the result stays factored, so nothing is lost in writing it as LoRA.
    `space` says where it works: on the factors, or on every entry of ΔW. `survey`, where given, looks at all layers
    first and says how many entries each source keeps in each layer. `needs` names the statistics every input must
    bring. `searched`: its weights are found on few labelled examples. `routed`: the result is a run-time artefact with
    a router, not one update. `spectral`: it works on singular directions, so vectors are only averaged. `order` places
    it in lists.
    """

    name: str
    title: str
    summary: str
    reference: Reference
    parameters: tuple[Parameter, ...]
    run: Run
    exact_on_lora: bool
    space: Literal["factored", "dense"]
    order: int
    needs_base: bool = False
    inputs_minimum: int = 1
    inputs_maximum: int | None = None
    survey: Survey | None = None
    needs: tuple[Statistic, ...] = ()
    searched: bool = False
    routed: bool = False
    spectral: bool = False

    @property
    def projects(self) -> bool:
        """Whether it works entry by entry, so that it may work on coordinates in a shared basis instead (`space`)."""
        return self.space == "dense" and not self.needs

    def parameter(self, name: str) -> Parameter | None:
        """The declared parameter of this name."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)

    def filled(self, given: Parameters, inputs: int) -> dict[str, Any]:
        """All parameters: those given, defaults for the rest, "auto" resolved for this number of inputs.

        Raises ValueError for an unknown name or a value out of range.
        """
        unknown = sorted(set(given) - {parameter.name for parameter in self.parameters})
        if unknown:
            known = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise ValueError(f"{self.name} has no parameter {', '.join(unknown)}. Known: {known}.")
        values = {}
        for parameter in self.parameters:
            value = given.get(parameter.name, parameter.default)
            if problem := parameter.problem(value):
                raise ValueError(problem)
            if value == "auto" and parameter.automatic is not None:
                value = parameter.automatic(inputs)
            values[parameter.name] = float(value) if parameter.kind == "float" else value
        return values


def is_finite(number: float) -> bool:
    """Whether it is a number a float can hold: not NaN, not infinite, and no whole number beyond that."""
    return abs(number) <= sys.float_info.max


def shown(value: Any) -> str:
    """A value as a sentence repeats it, cut short; of what cannot be written at all, that."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "something too long to repeat"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def scale(
    default: Value,
    text: str,
    automatic: Callable[[int], float] = lambda inputs: max(1.0 / max(inputs, 1), 0.3),
    words: str = "the larger of 0.3 and one over the number of inputs",
) -> Parameter:
    """The λ most methods end with. "auto" is what holds up without validation data; `words` say what that is."""
    return Parameter(
        "lambda",
        "float",
        default,
        f"{text} Choose it on validation data, never on test data; auto is {words}.",
        minimum=-10.0,
        maximum=10.0,
        automatic=automatic,
    )
