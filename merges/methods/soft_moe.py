"""SMEAR: for every input text, average the experts' updates by a router's probabilities, then run once."""

from __future__ import annotations

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference
from merges.methods.deltas import Delta, weighted_sum


def run(layer: Layer, _parameters: Parameters) -> Delta:
    """The weighted experts side by side, each over T (Muqeeth et al. 2024).

    Which share each has is decided per text when the model runs: y = W₀x + B((A x) ⊙ T·p), p repeated over the ranks.
    An update is linear in p, so this is exact; the factors are never averaged apart from each other. Over T, so that a
    runtime without the router computes the uniform mixture. With `select: {tasks: [...]}` the router is taught on these
    tasks' validation examples, through the mixture; else it compares a text with each expert's prototype. `router`
    per_module is the paper's form, a router for every place that is adapted, which reads what comes in there; it has to
    be taught. shared is one router for all places, which reads the bare base's feature of the text.
    """
    return weighted_sum(layer.deltas, [weight / len(layer.sources) for weight in layer.weights])


METHOD = Method(
    name="soft_moe",
    title="Soft mixture (SMEAR)",
    summary="Keeps every expert and mixes their updates anew for each text by a router; needs this hub's own runtime.",
    reference=Reference(
        "Muqeeth et al.", "Soft Merging of Experts with Adaptive Routing", 2024, "https://arxiv.org/abs/2306.03745"
    ),
    parameters=(
        Parameter(
            "temperature", "float", 0.1, "Small: nearly one expert for each text. Large: nearly the mean of all.",
            minimum=0.0, maximum=100.0, above_minimum=True,
        ),
        Parameter(
            "router", "choice", "shared", "One router for all places, or one for each adapted module, which needs "
            "select: {tasks: [...]} to be taught on.", choices=("shared", "per_module"),
        ),
    ),
    run=run,
    exact_on_lora=True,
    space="factored",
    order=90,
    needs=("prototype",),
    routed=True,
)  # fmt: skip
