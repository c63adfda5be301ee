"""From scores to answers: rank, calibrate, show the nearest examples, and say "none" when nothing fits."""

from __future__ import annotations

import numpy as np

from adapters.routing.declaration import Array, Choice, Decision, Parameters, Query, Router, RoutingFault, log_softmax
from adapters.routing.profiles import Library

SHARPNESS = 25.0
"""Scores are cosines; their softmax at this sharpness gives shares that one can read."""
UNUSUAL = -2.5
"""An input that far (in standard deviations) from a specialist's own examples is not for it."""
SHOWN = 3


def decide(
    library: Library,
    router: Router,
    query: Query,
    *,
    candidates: Array | None = None,
    top: int = 3,
    parameters: Parameters | None = None,
    unusual: float = UNUSUAL,
) -> list[Decision]:
    """One decision for each input, its `top` choices best first.

    `candidates` are positions in the library (default: all); only they shape the answer. Raises RoutingFault for
    vectors of another encoder, NaN, or when there is nothing to choose from.
    """
    vectors = np.asarray(query.vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != library.width:
        raise RoutingFault(f"The inputs' vectors have {vectors.shape[-1]} numbers, the library's {library.width}.")
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise RoutingFault("An input's vector is zero or not finite. Encode the input again.")
    chosen = library.positions if candidates is None else np.asarray(candidates, np.int64)
    if "texts" in router.needs:
        chosen = chosen[library.counts[chosen] > 0]
        chosen = library.shortlist(vectors, chosen)
    if "weights" in router.needs:
        chosen = np.asarray([place for place in chosen if library.at(int(place)).weights], np.int64)
    if not len(chosen):
        return [Decision((), none=True) for _ in vectors]
    scores = router.score(library, query, chosen, router.filled(parameters or {}))
    shares = np.exp(log_softmax(SHARPNESS * np.asarray(scores, np.float64)))
    order = np.argsort(-scores, axis=1)[:, :top]
    decisions = []
    for row, ranked in enumerate(order):
        choices = tuple(
            _choice(library, int(chosen[column]), vectors[row], float(scores[row, column]), float(shares[row, column]))
            for column in ranked
        )
        decisions.append(Decision(choices, choices[0].fit is not None and choices[0].fit < unusual))
    return decisions


def fit(library: Library, place: int, vector: Array) -> float | None:
    """How usual an input is for a specialist: (score − mean)/sd, both from leave-one-out on its own examples."""
    mean, deviation = library.usual[place]
    rows = library.at(place).rows
    if not len(rows) or not np.isfinite(mean):
        return None
    score = float(library.best_cosines(vector[None, :], np.asarray([place]))[0, 0])
    return float((score - mean) / deviation)


def _choice(library: Library, place: int, vector: Array, score: float, share: float) -> Choice:
    profile = library.at(place)
    nearest: tuple[tuple[int, float], ...] = ()
    if len(profile.rows):
        cosines = np.asarray(profile.rows, np.float32) @ vector
        best = np.argsort(-cosines)[:SHOWN]
        nearest = tuple((int(index), float(cosines[index])) for index in best)
    return Choice(profile.name, score, share, fit(library, place, vector), nearest)
