"""What a recipe is once it has been checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from merges.methods import METHODS, Method
from merges.methods.declaration import LONGEST_SHOWN, shown

FORMS = ("exact", "stacked", "rank", "energy", "bytes", "delta", "checkpoint")
WHOLE = ("delta", "checkpoint")
DTYPES = ("float32", "float16", "bfloat16")
HEADS = ("keep", "mean")
SUM_OF_RANKS = "sum"


@dataclass(frozen=True)
class Problem:
    """What is wrong (error), doubtful (warning) or good to know (info), where, in one or two sentences."""

    field: str
    severity: Literal["error", "warning", "info"]
    message: str


def key_shown(key: Any) -> str:
    """A key as the place of a problem names it: short, and nothing in it that does not print."""
    return key[:LONGEST_SHOWN] if isinstance(key, str) and key.isprintable() else shown(key)


class RecipeError(ValueError):
    """A recipe that cannot run; `problems` names what was found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = list(problems)

    def __reduce__(self) -> tuple[type[RecipeError], tuple[list[Problem]]]:
        """Keep the problems when the error crosses a process boundary."""
        return type(self), (self.problems,)


@dataclass(frozen=True)
class Base:
    """The base model the adapters were made for."""

    model: str
    revision: str | None = None


@dataclass(frozen=True)
class Input:
    """One adapter of the merge, or a whole checkpoint of the base (`whole`).

    `parameters` are the method's settings given for this input alone.
    """

    adapter: str
    revision: str | None = None
    sha256: str | None = None
    weight: float = 1.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True)
class Output:
    """How the result is written.

    `form`: `exact` (numerically minimal rank, nothing lost), `stacked` (the factors side by side, nothing recomputed),
    `rank` (the best approximation of `rank`, error reported; "sum" is the sum of the inputs' ranks in each layer),
    `energy` (the fewest parameters that keep this share of Σσ², ranks shared out over all layers), `bytes` (the best
    that fits this size), `delta` (ΔW of every weight, whole) or `checkpoint` (the base with the merge inside).
    `heads`: keep each parent's head in heads/, or average heads whose labels agree.
    """

    form: str = "exact"
    rank: int | str | None = None
    energy: float | None = None
    max_bytes: int | None = None
    dtype: str = "float32"
    heads: str = "keep"


@dataclass(frozen=True)
class Select:
    """What λ or the weights are chosen on: the validation splits of tasks, never their test splits.

    `grid` maps parameters to the values tried. `examples` is how many labelled texts of each task are looked at.
    """

    tasks: tuple[str, ...]
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    split: str = "validation"
    examples: int = 256


@dataclass(frozen=True)
class Recipe:
    """A checked recipe; `parameters` and `output` have every default filled in.

    `space` is where an element-wise method works: on all of ΔW, or on coordinates in a basis the inputs share.
    """

    method: str
    inputs: tuple[Input, ...]
    parameters: Mapping[str, Any]
    output: Output
    base: Base | None = None
    space: str = "dense"
    select: Select | None = None

    @property
    def whole(self) -> bool:
        """Whether the result is as large as the base: a checkpoint or a delta of every weight."""
        return self.output.form in WHOLE

    @property
    def declared(self) -> Method:
        """The declaration of the recipe's method."""
        return METHODS[self.method]
