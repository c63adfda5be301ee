"""The cosine with the mean of a specialist's examples: right for few examples and coherent subjects."""

from __future__ import annotations

import numpy as np

from adapters.embeddings.declaration import Reference
from adapters.routing.declaration import Array, Parameter, Parameters, Query, Router
from adapters.routing.profiles import Library


def score(library: Library, query: Query, candidates: Array, parameters: Parameters) -> Array:
    """Cosine with the normalised mean (Zhao et al. 2024), plus `description` · cosine with its wording, if any."""
    scores = np.asarray(query.vectors @ library.centres[candidates].T, np.float64)
    weight = parameters["description"]
    if weight:
        for column, place in enumerate(candidates):
            words = library.at(int(place)).description
            if words is not None:
                scores[:, column] += weight * (query.vectors @ words)
    return scores


ROUTER = Router(
    name="centroid",
    title="Nearest mean",
    summary="One vector a specialist. With only a few examples, add the description (weight 0.4 helps at four).",
    reference=Reference(
        "Zhao et al.", "LoraRetriever: Input-Aware LoRA Retrieval and Composition for Mixed Tasks in the Wild", 2024,
        "https://arxiv.org/abs/2402.09997",
    ),
    needs=("texts",),
    parameters=(Parameter("description", 0.0, 0, 4, "How much the description's own vector counts."),),
    score=score,
    order=30,
)  # fmt: skip
