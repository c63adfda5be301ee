"""LoraHub: the sum of the updates with weights found on a few examples, without gradients."""

from __future__ import annotations

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference
from merges.methods.deltas import Delta, weighted_sum


def run(layer: Layer, _parameters: Parameters) -> Delta:
    """Σ wᵢΔWᵢ with the weights the search found (Huang et al. 2024, on ΔW instead of on A and B)."""
    return weighted_sum(layer.deltas, layer.weights)


METHOD = Method(
    name="lorahub",
    title="LoraHub",
    summary="Searches one weight for each input on a few labelled examples, without gradients.",
    reference=Reference(
        "Huang et al.", "LoraHub: Efficient Cross-Task Generalization via Dynamic LoRA Composition", 2024,
        "https://arxiv.org/abs/2307.13269",
    ),
    parameters=(
        Parameter("trials", "int", 40, "How many sets of weights are tried.", minimum=1, maximum=1000),
        Parameter("bound", "float", 1.5, "No weight grows beyond this.", minimum=0.0, maximum=10.0, above_minimum=True),
        Parameter("penalty", "float", 0.05, "Price of the mean size of the weights.", minimum=0.0, maximum=10.0),
        Parameter("seed", "int", 0, "Another seed tries other weights.", minimum=0, maximum=2**31 - 1),
    ),
    run=run,
    exact_on_lora=True,
    space="factored",
    order=80,
    searched=True,
)  # fmt: skip
