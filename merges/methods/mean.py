"""Weighted mean of the updates: ΔW* = Σ wᵢΔWᵢ / Σ wᵢ."""

from __future__ import annotations

from merges.methods.declaration import Layer, Method, Parameters, Reference
from merges.methods.deltas import Delta, weighted_sum


def run(layer: Layer, _parameters: Parameters) -> Delta:
    """Σ wᵢΔWᵢ / Σ wᵢ, factored where the inputs are (Wortsman et al. 2022). Raises ValueError if Σ wᵢ = 0."""
    total = sum(layer.weights)
    if not total:
        raise ValueError("The weights add up to zero, so there is no mean. Change a weight or use task_arithmetic.")
    return weighted_sum(layer.deltas, [weight / total for weight in layer.weights])


METHOD = Method(
    name="mean",
    title="Weighted mean",
    summary="The average of the updates. The plain control every other method is compared with.",
    reference=Reference(
        "Wortsman et al.", "Model soups: averaging weights of multiple fine-tuned models", 2022,
        "https://arxiv.org/abs/2203.05482",
    ),
    parameters=(),
    run=run,
    exact_on_lora=True,
    space="factored",
    order=10,
)  # fmt: skip
