"""The caller says what is asked: wanted labels or the task's wording. The input alone often cannot tell."""

from __future__ import annotations

import numpy as np

from adapters.embeddings.declaration import Reference
from adapters.routing.declaration import Array, Parameter, Parameters, Query, Router, RoutingFault
from adapters.routing.profiles import NEIGHBOURS, Library


def score(library: Library, query: Query, candidates: Array, parameters: Parameters) -> Array:
    """Five best cosines + wording · cosine(hint, description) + labels · overlap of label sets (Jaccard).

    Raises RoutingFault without a hint.
    """
    if query.hint is None or (query.hint.vector is None and not query.hint.labels):
        raise RoutingFault("The hinted router needs a hint: the labels you want, or the task in your own words.")
    scores = np.asarray(library.best_cosines(query.vectors, candidates, NEIGHBOURS), np.float64)
    wanted = label_set(query.hint.labels)
    for column, place in enumerate(candidates):
        profile = library.at(int(place))
        if query.hint.vector is not None and profile.description is not None:
            scores[:, column] += parameters["wording"] * float(query.hint.vector @ profile.description)
        if wanted:
            own = label_set(profile.labels)
            scores[:, column] += parameters["labels"] * len(wanted & own) / max(len(wanted | own), 1)
    return scores


def label_set(labels: tuple[str, ...]) -> frozenset[str]:
    """Labels without regard to case, underscores and spaces."""
    return frozenset(" ".join(label.lower().replace("_", " ").replace("-", " ").split()) for label in labels)


ROUTER = Router(
    name="hinted",
    title="With a hint",
    summary="Five nearest examples, and how well the hint fits each specialist's wording and labels.",
    reference=Reference(
        "Li et al.", "Glider: Global and Local Instruction-Driven Expert Router", 2024,
        "https://arxiv.org/abs/2410.07172",
    ),
    needs=("texts", "hint"),
    parameters=(
        Parameter("wording", 0.5, 0, 4, "How much the hint's wording counts beside the cosines."),
        Parameter("labels", 0.5, 0, 4, "How much the overlap of wanted and own labels counts."),
    ),
    score=score,
    order=50,
)  # fmt: skip
