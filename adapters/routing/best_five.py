"""The plain rule: the mean of the five largest cosines between the input and a specialist's stored examples."""

from __future__ import annotations

from adapters.embeddings.declaration import Reference
from adapters.routing.declaration import Array, Parameter, Parameters, Query, Router
from adapters.routing.profiles import NEIGHBOURS, Library


def score(library: Library, query: Query, candidates: Array, parameters: Parameters) -> Array:
    """Mean of the `neighbours` best cosines (Jang et al. 2023 retrieve by the single best one)."""
    return library.best_cosines(query.vectors, candidates, int(parameters["neighbours"]))


ROUTER = Router(
    name="best_five",
    title="Mean of the five nearest examples",
    summary="Training-free and explained by its nearest examples; an upload changes nothing for the others.",
    reference=Reference(
        "Jang et al.", "Exploring the Benefits of Training Expert Language Models over Instruction Tuning", 2023,
        "https://arxiv.org/abs/2302.03202",
    ),
    needs=("texts",),
    parameters=(Parameter("neighbours", NEIGHBOURS, 1, 64, "How many of the nearest examples count."),),
    score=score,
    order=10,
)  # fmt: skip
