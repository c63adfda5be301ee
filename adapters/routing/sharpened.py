"""The default: the five nearest examples, sharpened by a discriminant between the specialists' texts."""

from __future__ import annotations

import numpy as np

from adapters.embeddings.declaration import Reference
from adapters.routing.declaration import Array, Parameter, Parameters, Query, Router, log_softmax
from adapters.routing.profiles import NEIGHBOURS, Library


def score(library: Library, query: Query, candidates: Array, parameters: Parameters) -> Array:
    """Mean of the five best cosines + weight · log p(specialist | input) of Fisher's linear discriminant.

    The discriminant reads the meaning and, where words are known, how they are written.
    """
    near = library.best_cosines(query.vectors, candidates, NEIGHBOURS)
    likely = log_softmax(library.likely(query.vectors, candidates, query.texts))
    return np.asarray(near + parameters["weight"] * likely)


ROUTER = Router(
    name="sharpened",
    title="Five nearest, sharpened",
    summary="The five nearest examples, plus a discriminant in closed form over what is said and how it is written.",
    reference=Reference(
        "Fisher", "The use of multiple measurements in taxonomic problems", 1936,
        "https://doi.org/10.1111/j.1469-1809.1936.tb02137.x",
    ),
    needs=("texts",),
    parameters=(Parameter("weight", 0.01, 0, 1, "How much the discriminant counts beside the cosines."),),
    score=score,
    order=20,
    training="none: two sums change",
)  # fmt: skip
