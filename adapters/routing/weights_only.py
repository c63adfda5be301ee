"""No examples at all: how strongly a specialist's update answers the base's own hidden states.

ΔW = L·R with L = QS (thin QR) gives ‖ΔW h‖ = ‖S R h‖, so each module is kept as one map (r, width), divided by ‖ΔW‖_F.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from adapters.embeddings.declaration import Reference
from adapters.embeddings.updates import Update
from adapters.routing.declaration import Array, Parameter, Parameters, Query, Router, RoutingFault
from adapters.routing.profiles import Library


def maps(update: Update) -> dict[str, Array]:
    """Per linear module the map S·R/‖ΔW‖_F (r, width); modules that change nothing are left out."""
    found = {}
    for module, (left, right) in update.places.items():
        if module.endswith(" (ia3)") or not left.size:
            continue
        reduced = np.linalg.qr(left.astype(np.float64))[1] @ right.astype(np.float64)
        length = float(np.linalg.norm(reduced))
        if length > 0:
            found[module] = np.asarray(reduced / length, np.float32)
    return found


def strongest(mapped: Array) -> Array:
    """The top right singular vector of a map (width,): what Arrow compares hidden states with."""
    return np.asarray(np.linalg.svd(np.asarray(mapped, np.float64), full_matrices=False)[2][0], np.float32)


def answers(weights: Mapping[str, Array], hidden: Mapping[str, Sequence[Array]], arrow: bool = False) -> Array:
    """Mean over modules and tokens of ‖ΔW h‖/‖ΔW‖_F (SpectR), or of |⟨v, h⟩| (Arrow), for each text (n,)."""
    shared = [module for module in weights if module in hidden]
    if not shared:
        raise RoutingFault("The base's hidden states do not cover any module that this specialist changes.")
    total = np.zeros(len(next(iter(hidden.values()))), np.float64)
    for module in shared:
        mapped = strongest(weights[module])[None, :] if arrow else weights[module]
        total += [float(np.linalg.norm(tokens @ mapped.T, axis=1).mean()) for tokens in hidden[module]]
    return total / len(shared)


def score(library: Library, query: Query, candidates: Array, parameters: Parameters) -> Array:
    """SpectR's score (or Arrow's) on the bare base, z-scored per specialist over a fixed pool of neutral text.

    The pool's scores are the last `neutral` texts of `query.hidden`. Raises RoutingFault without hidden states.
    """
    if query.hidden is None:
        raise RoutingFault("The weights-only router needs the base's hidden states of each input.")
    count, arrow = len(query.vectors), bool(parameters["arrow"])
    scores = np.zeros((count, len(candidates)), np.float64)
    for column, place in enumerate(candidates):
        values = answers(library.at(int(place)).weights, query.hidden, arrow)
        pool = values[count:]
        mean, deviation = (pool.mean(), max(float(pool.std()), 1e-9)) if len(pool) > 1 else (0.0, 1.0)
        scores[:, column] = (values[:count] - mean) / deviation
    return scores


ROUTER = Router(
    name="weights_only",
    title="From the weights alone",
    summary="For specialists without examples: how strongly each update answers the input, against neutral text.",
    reference=Reference(
        "Fleshman & Van Durme", "SpectR: Dynamically Composing LM Experts with Spectral Routing", 2025,
        "https://arxiv.org/abs/2504.03454",
    ),
    needs=("weights",),
    parameters=(
        Parameter("arrow", 0, 0, 1, "1: only the strongest direction (Arrow, Ostapenko et al. 2024); 0: all of them."),
    ),
    score=score,
    order=60,
)  # fmt: skip
