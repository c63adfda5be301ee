"""Task arithmetic: ΔW* = λ Σ wᵢΔWᵢ. A negative weight makes the model forget a skill."""

from __future__ import annotations

from merges.methods.declaration import Layer, Method, Parameters, Reference, scale
from merges.methods.deltas import Delta, weighted_sum


def run(layer: Layer, parameters: Parameters) -> Delta:
    """λ Σ wᵢΔWᵢ, factored where the inputs are (Ilharco et al. 2023)."""
    return weighted_sum(layer.deltas, [parameters["lambda"] * weight for weight in layer.weights])


METHOD = Method(
    name="task_arithmetic",
    title="Task arithmetic",
    summary="The scaled sum of the updates: exact on adapters, and the one that most reliably beats the base model.",
    reference=Reference(
        "Ilharco et al.", "Editing Models with Task Arithmetic", 2023, "https://arxiv.org/abs/2212.04089"
    ),
    parameters=(scale("auto", "How far to go along the sum of the updates."),),
    run=run,
    exact_on_lora=True,
    space="factored",
    order=20,
)
