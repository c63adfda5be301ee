"""Iso-C: add the updates up, then make all singular values equal so that no direction drowns the others."""

from __future__ import annotations

from merges.methods.declaration import Layer, Method, Parameters, Reference, scale
from merges.methods.deltas import Delta, LowRank, svd, weighted_sum, zero


def run(layer: Layer, parameters: Parameters) -> Delta:
    """ΔW* = λ·mean(σ)·UVᵀ of M = Σ wᵢΔWᵢ = U diag(σ) Vᵀ (Marczak et al. 2025). Vectors are averaged.

    The mean runs over the numerical rank of M. In full space it would run over the zero singular values of a LoRA
    sum too, whose directions are arbitrary: noise of 1e-12 would change the result.
    """
    if min(layer.shape) == 1:
        share = parameters["lambda"] / len(layer.sources)
        return weighted_sum(layer.deltas, [share * weight for weight in layer.weights])
    u, sigma, v = svd(weighted_sum(layer.deltas, layer.weights))
    if not sigma.size:
        return zero(layer.shape)
    return LowRank(u * (parameters["lambda"] * sigma.mean()), v.T)


METHOD = Method(
    name="iso_c",
    title="Iso-C",
    summary="Gives every direction of the summed update the same strength.",
    reference=Reference(
        "Marczak et al.", "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces", 2025,
        "https://arxiv.org/abs/2502.04959",
    ),
    parameters=(scale(1.0, "Scales the merged update."),),
    run=run,
    exact_on_lora=True,
    space="factored",
    spectral=True,
    order=60,
)  # fmt: skip
