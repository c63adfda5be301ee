"""How a router declares itself, what it is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adapters.embeddings.declaration import Reference
from adapters.routing.profiles import Library

Array = npt.NDArray[Any]
Parameters = Mapping[str, float]
Need = Literal["texts", "hint", "weights"]


class RoutingFault(ValueError):
    """A choice cannot be made; the message says what happened and what to do."""


@dataclass(frozen=True)
class Hint:
    """What the caller knows of the task: its wording as a unit vector, and the labels wanted."""

    vector: Array | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Query:
    """Encoded inputs: unit vectors (n, d), an optional hint, and for weights-only routing the inputs of each adapted
    module on the bare base, as one (tokens, width) matrix a text. `texts` are their words, where known."""

    vectors: Array
    hint: Hint | None = None
    hidden: Mapping[str, Sequence[Array]] | None = None
    texts: Sequence[str] | None = None


@dataclass(frozen=True)
class Choice:
    """One specialist for one input.

    `score` is the router's; `share` its softmax over all candidates; `fit` says how usual such an input is for the
    specialist, in standard deviations from its own examples (None without enough of them); `nearest` are positions and
    cosines of its stored examples.
    """

    name: str
    score: float
    share: float
    fit: float | None
    nearest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Decision:
    """The ranked choices for one input; with `none` even the best does not look made for it."""

    choices: tuple[Choice, ...]
    none: bool = False


@dataclass(frozen=True)
class Parameter:
    """One number of a router: its default, range and what it does, in words for a form."""

    name: str
    default: float
    minimum: float
    maximum: float
    help: str


Score = Callable[[Library, Query, Array, Parameters], Array]
"""Scores (n, candidates) of the profiles at these positions; larger is better."""


@dataclass(frozen=True)
class Router:
    """A way to choose. `needs` says what profiles and queries must bring; `training` what it costs to add one more."""

    name: str
    title: str
    summary: str
    reference: Reference
    needs: tuple[Need, ...]
    parameters: tuple[Parameter, ...]
    score: Score
    order: int
    training: str = "none: an upload changes nothing for the others"

    def filled(self, given: Parameters) -> dict[str, float]:
        """All parameters, defaults for what is not given. Raises RoutingFault for an unknown name or a bad value."""
        unknown = sorted(set(given) - {parameter.name for parameter in self.parameters})
        if unknown:
            known = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise RoutingFault(f"{self.name} has no parameter {unknown[0]!r}. Known: {known}.")
        values = {}
        for parameter in self.parameters:
            value = given.get(parameter.name, parameter.default)
            usable = isinstance(value, int | float) and not isinstance(value, bool)
            if not usable or not parameter.minimum <= value <= parameter.maximum:
                raise RoutingFault(
                    f"{parameter.name} is {value!r}, but must lie between {parameter.minimum:g} and "
                    f"{parameter.maximum:g}."
                )
            values[parameter.name] = float(value)
        return values


def log_softmax(scores: Array) -> Array:
    """Log-probabilities along the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
