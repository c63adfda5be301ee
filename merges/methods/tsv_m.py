"""TSV-M: add the updates up after making their singular directions orthogonal to each other."""

from __future__ import annotations

import numpy as np

from merges.methods.declaration import Layer, Method, Parameters, Reference, scale
from merges.methods.deltas import Array, Delta, LowRank, svd, weighted_sum, zero

EIGENVALUE_FLOOR = 1e-10


def run(layer: Layer, parameters: Parameters) -> Delta:
    """ΔW* = λ U⊥ Σ V⊥ᵀ (Gargiulo et al. 2025).

    From each wᵢΔWᵢ the k = ⌊min(m, n)/T⌋ largest singular triplets; U and V side by side, each replaced by the nearest
    matrix with orthonormal columns. Vectors are averaged, as in the paper.
    """
    count = len(layer.sources)
    if min(layer.shape) == 1:
        return weighted_sum(layer.deltas, [parameters["lambda"] * weight / count for weight in layer.weights])
    keep = max(1, min(layer.shape) // count)
    triplets = [svd(source.delta) for source in layer.sources if source.weight]
    weights = [source.weight for source in layer.sources if source.weight]
    if not any(sigma.size for _, sigma, _ in triplets):
        return zero(layer.shape)
    left = nearest_orthonormal(np.concatenate([u[:, :keep] for u, _, _ in triplets], axis=1))
    right = nearest_orthonormal(np.concatenate([v[:, :keep] for _, _, v in triplets], axis=1))
    sigma = np.concatenate([weight * s[:keep] for weight, (_, s, _) in zip(weights, triplets, strict=True)])
    return LowRank(left * (parameters["lambda"] * sigma), right.T)


def nearest_orthonormal(columns: Array) -> Array:
    """The polar factor X(XᵀX)^(−1/2): PQᵀ of X = PDQᵀ. Directions below the floor stay out instead of blowing up."""
    values, vectors = np.linalg.eigh(columns.T @ columns)
    inverse = np.where(values > EIGENVALUE_FLOOR * values[-1], 1.0 / np.sqrt(np.maximum(values, 1e-300)), 0.0)
    result: Array = columns @ (vectors * inverse) @ vectors.T
    return result


METHOD = Method(
    name="tsv_m",
    title="TSV-M",
    summary="Makes the singular directions of the inputs orthogonal before adding them: strong on distinct tasks.",
    reference=Reference(
        "Gargiulo et al.", "Task Singular Vectors: Reducing Task Interference in Model Merging", 2025,
        "https://arxiv.org/abs/2412.00081",
    ),
    parameters=(
        scale(
            "auto", "Scales the merged update.", lambda inputs: max(inputs, 1) ** -0.25,
            "one over the fourth root of the number of inputs: 0.84 for two, 0.6 for eight; the paper has 1",
        ),
    ),
    run=run,
    exact_on_lora=True,
    space="factored",
    spectral=True,
    order=50,
)  # fmt: skip
