"""A trained router: logistic regression on the stored vectors, beside the five nearest examples."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from adapters.embeddings.declaration import Reference
from adapters.routing.declaration import Array, Parameter, Parameters, Query, Router, log_softmax
from adapters.routing.profiles import NEIGHBOURS, Library
from adapters.runtime.linear import fit_linear

STRENGTH = 30.0
_fitted: weakref.WeakKeyDictionary[Library, tuple[tuple[str, ...], Array, Array]] = weakref.WeakKeyDictionary()


def score(library: Library, query: Query, candidates: Array, parameters: Parameters) -> Array:
    """Mean of the five best cosines + weight · log p of a multinomial logistic regression over the candidates."""
    near = library.best_cosines(query.vectors, candidates, NEIGHBOURS)
    matrix, bias = fitted(library, candidates)
    likely = log_softmax(np.asarray(query.vectors, np.float64) @ matrix.T + bias)
    return np.asarray(near + parameters["weight"] * likely)


def fitted(library: Library, candidates: Array) -> tuple[Array, Array]:
    """Weights (c, d) and bias (c,) for these candidates; refitted from the last ones when candidates changed."""
    profiles = [library.at(int(place)) for place in candidates]
    names = tuple(f"{profile.name}:{id(profile.rows)}" for profile in profiles)
    known = _fitted.get(library)
    if known is not None and known[0] == names:
        return known[1], known[2]
    features = np.concatenate([np.asarray(profile.rows, np.float64) for profile in profiles])
    targets = [row for row, profile in enumerate(profiles) for _ in range(len(profile.rows))]
    start = _start(known, names, library.width)
    matrix, bias = fit_linear(features, targets, len(profiles), strength=STRENGTH, start=start)
    _fitted[library] = (names, matrix, bias)
    return matrix, bias


def _start(known: tuple[tuple[str, ...], Array, Array] | None, names: tuple[str, ...], width: int) -> Any:
    if known is None:
        return None
    before = {name: row for row, name in enumerate(known[0])}
    matrix, bias = np.zeros((len(names), width)), np.zeros(len(names))
    for row, name in enumerate(names):
        if name in before:
            matrix[row], bias[row] = known[1][before[name]], known[2][before[name]]
    return matrix, bias


ROUTER = Router(
    name="trained",
    title="Five nearest and logistic regression",
    summary="Fitted on the stored vectors of all candidates, again from where it was when one is added or removed.",
    reference=Reference(
        "Cox", "The Regression Analysis of Binary Sequences", 1958, "https://doi.org/10.1111/j.2517-6161.1958.tb00292.x"
    ),
    needs=("texts",),
    parameters=(Parameter("weight", 0.05, 0, 1, "How much the regression counts beside the cosines."),),
    score=score,
    order=40,
    training="seconds for tens of specialists, refitted from the last weights",
)
