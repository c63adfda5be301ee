"""Iso-CTS: equal strength for the directions the inputs share and for those each has alone."""

from __future__ import annotations

import numpy as np

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference, scale
from merges.methods.deltas import Array, Delta, LowRank, dense, svd, weighted_sum, zero
from merges.methods.tsv_m import nearest_orthonormal


def run(layer: Layer, parameters: Parameters) -> Delta:
    """λ σ̄ U⊥V⊥ᵀ over common and task-specific directions (Marczak et al. 2025, Iso-CTS).

    Of M = Σ wᵢτᵢ, of numerical rank r, the top k ≈ common·r directions are common (k such that the inputs share the
    other r − k evenly). Each input adds the top (r − k)/T directions of what it has outside the common left space.
    Both bases are made orthonormal by their polar factors; σ̄ is the mean of all chosen singular values.
    """
    count = len(layer.sources)
    if min(layer.shape) == 1:
        return weighted_sum(layer.deltas, [parameters["lambda"] * weight / count for weight in layer.weights])
    u, sigma, v = svd(weighted_sum(layer.deltas, layer.weights))
    if not sigma.size:
        return zero(layer.shape)
    own = (sigma.size - round(parameters["common"] * sigma.size)) // count
    common = sigma.size - own * count
    lefts, strengths, rights = [u[:, :common]], [sigma[:common]], [v[:, :common]]
    for source in layer.sources if own else ():
        left, strength, right = svd(_outside(source.delta, u[:, :common], source.weight))
        lefts.append(left[:, :own])
        strengths.append(strength[:own])
        rights.append(right[:, :own])
    mean = float(np.concatenate(strengths).mean())
    left = nearest_orthonormal(np.concatenate(lefts, axis=1))
    right = nearest_orthonormal(np.concatenate(rights, axis=1))
    return LowRank(left * (parameters["lambda"] * mean), right.T)


def _outside(delta: Delta, basis: Array, weight: float) -> Delta:
    """wτ − UUᵀwτ: what an input does outside the common left space."""
    if isinstance(delta, LowRank):
        left = weight * delta.left.astype(np.float64)
        return LowRank(left - basis @ (basis.T @ left), delta.right)
    values = weight * dense(delta).astype(np.float64)
    return LowRank(values - basis @ (basis.T @ values), np.eye(values.shape[1]))


METHOD = Method(
    name="iso_cts",
    title="Iso-CTS",
    summary="As Iso-C, but keeps room for the directions that only one input has.",
    reference=Reference(
        "Marczak et al.", "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces", 2025,
        "https://arxiv.org/abs/2502.04959",
    ),
    parameters=(
        scale(1.0, "Scales the merged update."),
        Parameter("common", "float", 0.8, "Share of the directions that is common.", minimum=0.0, maximum=1.0),
    ),
    run=run,
    exact_on_lora=True,
    space="factored",
    spectral=True,
    order=62,
)  # fmt: skip
