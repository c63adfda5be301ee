"""Model Breadcrumbs: leave out both the smallest and the few largest entries of each update, then add up."""

from __future__ import annotations

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference, scale
from merges.methods.deltas import Blockwise, Delta, weighted_sum
from merges.methods.ties import trimmed


def run(layer: Layer, parameters: Parameters) -> Delta:
    """λ Σ wᵢ mᵢ⊙τᵢ, mᵢ without the ⌊gamma·N⌋ largest and then keeping ⌊density·N⌋ (Davari & Belilovsky 2024)."""
    size = layer.shape[0] * layer.shape[1]
    parts: list[Delta] = []
    for source in layer.sources:
        outliers = int(parameters["gamma"] * size)
        kept = min(size - outliers, max(1, int(source.parameters["density"] * size)))
        parts += [_kept(source.delta, outliers + kept), _kept(source.delta, outliers)]
    scaled = [parameters["lambda"] * weight for weight in layer.weights]
    return weighted_sum(parts, [sign * weight for weight in scaled for sign in (1.0, -1.0)])


def _kept(delta: Delta, keep: int) -> Delta:
    """The delta with its `keep` largest entries, zeros elsewhere."""
    return Blockwise(delta.shape, trimmed(delta, keep))


METHOD = Method(
    name="breadcrumbs",
    title="Model Breadcrumbs",
    summary="Drops the smallest entries of each update and its few outliers, then adds up.",
    reference=Reference(
        "Davari & Belilovsky", "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks", 2024,
        "https://arxiv.org/abs/2312.06795",
    ),
    parameters=(
        Parameter(
            "density", "float", 0.9, "Share of entries each update keeps, by size, below its outliers.",
            minimum=0.0, maximum=1.0, above_minimum=True, per_input=True,
        ),
        Parameter("gamma", "float", 0.01, "Share of the largest entries left out.", minimum=0.0, maximum=0.5),
        scale("auto", "Scales the merged update."),
    ),
    run=run,
    exact_on_lora=False,
    space="dense",
    order=42,
)  # fmt: skip
