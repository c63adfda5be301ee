"""The files that make a merge a soft mixture: where each expert's ranks lie, and the router's prototypes.

`router.safetensors` holds `prototypes` (experts × hidden): the mean feature of each expert's task under the bare base.
A text's probabilities are softmax(cosine(feature, prototypes)/temperature); `routing.json` names the experts in order.
A router that was taught (`merges.running.learning`) adds `weights` (experts × hidden) and `bias`, which then decide.
With a router for each module (`"routers": "per_module"`) these are `<module>.weights` (experts × the module's inputs)
and `<module>.bias`; until they are taught the mixture is uniform.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from merges.recipes import Problem, Recipe, RecipeError
from merges.running.adapters import Adapter
from merges.running.writing import safetensors, stored

ROUTER, ROUTING = "router.safetensors", "routing.json"


def routing_files(recipe: Recipe, adapters: Sequence[Adapter]) -> dict[str, bytes]:
    """The router of a routed merge, nothing for others. Raises RecipeError when a prototype is missing or unlike."""
    if not recipe.declared.routed:
        return {}
    prototypes = [adapter.prototype for adapter in adapters]
    known = [values for values in prototypes if values is not None]
    if len(known) < len(adapters) or len({values.shape for values in known}) > 1:
        message = "The inputs' prototypes are missing or of different sizes. Compute their statistics on one base."
        raise RecipeError([Problem("inputs", "error", message)])
    experts = [
        {
            **adapter.said,
            "ranks": {site.module: adapter.rank(site) for site in sorted(adapter.sites)},
        }
        for adapter in adapters
    ]
    told = {"method": recipe.method, "temperature": recipe.parameters["temperature"]}
    told |= {"routers": recipe.parameters["router"], "experts": experts}
    return {
        ROUTER: safetensors({"prototypes": stored(np.stack(known), "float32")}),
        ROUTING: (json.dumps(told, indent=2) + "\n").encode(),
    }
