"""Choosing λ or weights by trying: a sweep over a grid, or a search without gradients. On validation data only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from merges.recipes import Recipe


@dataclass(frozen=True)
class Trial:
    """One set of settings and what it reached: accuracy by task, and the mean loss in nats."""

    settings: Mapping[str, Any]
    accuracies: Mapping[str, float]
    loss: float

    @property
    def rank(self) -> tuple[float, float, float]:
        """What trials are ordered by: mean accuracy, then the worst task, then the loss."""
        values = list(self.accuracies.values())
        return sum(values) / len(values), min(values), -self.loss

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


Attempt = Callable[[Recipe], Trial]


def sweep(recipe: Recipe, grid: Mapping[str, Sequence[float]], attempt: Attempt) -> tuple[Recipe, list[Trial]]:
    """The best of all combinations of the grid's values, and every trial. The first of equals wins."""
    trials: list[Trial] = []
    best, found = recipe, None
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        tried = replace(recipe, parameters={**recipe.parameters, **settings}, select=None)
        trial = replace(attempt(tried), settings=settings)
        trials.append(trial)
        if found is None or trial.rank > found.rank:
            best, found = tried, trial
    return best, trials


def search_weights(
    recipe: Recipe, attempt: Attempt, *, trials: int, bound: float, penalty: float, seed: int
) -> tuple[Recipe, list[Trial]]:
    """The weights of least loss + penalty·mean|w| within ±bound, by a (1+1) evolution strategy with the 1/5 rule.

    Starts at zero and at the uniform mean (Huang et al. 2024 start at zero); a step that helps makes the next longer,
    one that does not makes it shorter (Rechenberg 1973). The same seed gives the same weights.
    """
    count = len(recipe.inputs)
    draw = np.random.Generator(np.random.PCG64(seed))
    done: list[Trial] = []

    def cost(weights: Any) -> float:
        trial = replace(attempt(_weighted(recipe, weights)), settings={"weights": [float(w) for w in weights]})
        done.append(trial)
        return trial.loss + penalty * float(np.abs(weights).mean())

    starts = [np.zeros(count), np.full(count, min(bound, 1.0 / count))][:trials]
    costs = [cost(start) for start in starts]
    best = starts[int(np.argmin(costs))]
    least, step = min(costs), bound / 3
    for _ in range(trials - len(starts)):
        tried = np.clip(best + step * draw.standard_normal(count), -bound, bound)
        value = cost(tried)
        better = value < least
        best, least = (tried, value) if better else (best, least)
        step *= 1.5 if better else 1.5 ** (-1 / 4)
    return _weighted(recipe, best), done


def _weighted(recipe: Recipe, weights: Any) -> Recipe:
    pairs = zip(recipe.inputs, weights, strict=True)
    return replace(recipe, inputs=tuple(replace(entry, weight=float(weight)) for entry, weight in pairs))
