"""RegMean: the update whose outputs are closest to every input's own outputs, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference, scale
from merges.methods.deltas import Array, Delta, Dense, LowRank, dense, weighted_sum, zero


def run(layer: Layer, parameters: Parameters) -> Delta:
    """ΔW* = λ (Σ wᵢΔWᵢGᵢ)(Σ wᵢGᵢ)⁻¹ with Gᵢ = XᵢᵀXᵢ/tokens, off-diagonals times `off_diagonal` (Jin et al. 2023).

    Commutes with the base and stays factored: [s₁B₁|…] · [w₁A₁G₁; …] · S⁻¹, one n × n solve in float64 with a ridge
    of `ridge`·tr(S)/n. Layers without all Grams (vectors, embeddings) are averaged by weight.
    """
    grams = [_damped(source.statistics.gram, parameters["off_diagonal"]) for source in layer.sources]
    known = [gram for gram in grams if gram is not None]
    if len(known) < len(grams) or min(layer.shape) == 1:
        total = sum(layer.weights)
        return weighted_sum(layer.deltas, [parameters["lambda"] * weight / total for weight in layer.weights])
    if any(gram.ndim == 1 for gram in known):
        known = [gram if gram.ndim == 1 else gram.diagonal() for gram in known]
    moment = np.sum([weight * gram for weight, gram in zip(layer.weights, known, strict=True)], axis=0)
    carried = [
        _times(delta, weight * gram) for delta, weight, gram in zip(layer.deltas, layer.weights, known, strict=True)
    ]
    return _solved(layer.shape, carried, moment, parameters)


def _damped(gram: Array | None, share: float) -> Array | None:
    """A Gram in float64 with its off-diagonal entries shrunk."""
    if gram is None or gram.ndim == 1:
        return None if gram is None else gram.astype(np.float64)
    result = share * gram.astype(np.float64)
    np.fill_diagonal(result, gram.diagonal())
    return result


def _times(delta: Delta, gram: Array) -> Delta:
    """ΔW·G in float64, still factored where it was."""
    if isinstance(delta, LowRank):
        right = delta.right.astype(np.float64)
        return LowRank(delta.left, right * gram if gram.ndim == 1 else right @ gram)
    values = dense(delta).astype(np.float64)
    return Dense(values * gram if gram.ndim == 1 else values @ gram)


def _solved(shape: tuple[int, int], carried: Sequence[Delta], moment: Array, parameters: Parameters) -> Delta:
    """λ (Σ carried) · moment⁻¹."""
    factored = [delta for delta in carried if isinstance(delta, LowRank)]
    if len(factored) == len(carried):
        kept = [delta for delta in factored if delta.rank]
        if not kept:
            return zero(shape)
        left = np.concatenate([delta.left for delta in kept], axis=1)
        right = np.concatenate([delta.right for delta in kept], axis=0)
        return LowRank(left, (parameters["lambda"] * _divided(right, moment, parameters["ridge"])).astype(np.float32))
    total = np.zeros(shape)
    for delta in carried:
        total += dense(delta)
    return Dense((parameters["lambda"] * _divided(total, moment, parameters["ridge"])).astype(np.float32))


def _divided(rows: Array, moment: Array, ridge: float) -> Array:
    """rows · (moment + ridge)⁻¹, solved and never inverted; entry by entry for a diagonal moment."""
    diagonal = moment if moment.ndim == 1 else moment.diagonal()
    extra = (ridge * float(np.abs(diagonal).mean())) or 1.0
    if moment.ndim == 1:
        result: Array = rows / (moment + extra)
        return result
    solved: Array = np.linalg.solve(moment + extra * np.eye(len(moment)), rows.T).T
    return solved


METHOD = Method(
    name="regmean",
    title="RegMean",
    summary="The update whose outputs are nearest to every input's outputs on its own data, in closed form.",
    reference=Reference(
        "Jin et al.", "Dataless Knowledge Fusion by Merging Weights of Language Models", 2023,
        "https://arxiv.org/abs/2212.09849",
    ),
    parameters=(
        scale(1.0, "Scales the merged update."),
        Parameter(
            "off_diagonal", "float", 0.9, "Off-diagonal entries of the Grams are multiplied by this; 0 uses their "
            "diagonals alone.", minimum=0.0, maximum=1.0,
        ),
        Parameter(
            "ridge", "float", 1e-6, "Added to the diagonal, as a share of its mean, so that it can be inverted.",
            minimum=0.0, maximum=1.0, above_minimum=True,
        ),
    ),
    run=run,
    exact_on_lora=True,
    space="factored",
    order=46,
    needs=("gram",),
)  # fmt: skip
