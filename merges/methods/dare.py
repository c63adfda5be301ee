"""DARE: drop entries of each update at random, rescale the rest, then add up or elect signs as TIES does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference, Source, scale
from merges.methods.deltas import Array, Delta, Dense, blocks
from merges.methods.election import NORMALIZE, ZERO_SIGN, elect


def run(layer: Layer, parameters: Parameters) -> Delta:
    """τ̂ = m ⊙ τ / p with m ~ Bernoulli(p), p the density; then λ Σ wᵢτ̂ᵢ or TIES' election (Yu et al. 2024).

    The draw depends only on the seed, the layer's name and the input's identity, never on blocks or order.
    """
    factors = [_factor(layer, source, parameters) for source in layer.sources]

    def dropped() -> Iterator[tuple[slice, Array]]:
        streams = [_masked(layer, source, parameters["seed"]) for source in layer.sources]
        for block in blocks(layer.shape):
            yield block, np.stack([next(stream) * factor for stream, factor in zip(streams, factors, strict=True)])

    scaled = parameters["lambda"]
    if parameters["combine"] == "ties":
        return elect(layer.shape, dropped, layer.weights, parameters["normalize"], parameters["zero_sign"], scaled)
    result = np.empty(layer.shape, np.float32)
    column = np.asarray(layer.weights, np.float32) * np.float32(scaled)
    for block, values in dropped():
        result[block] = np.tensordot(column, values, axes=1)
    return Dense(result)


def _masked(layer: Layer, source: Source, seed: int) -> Iterator[Array]:
    """Row blocks of the delta with dropped entries at zero, before rescaling."""
    text = f"{seed}\0{layer.name}\0{source.identity}".encode()
    draw = np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text).digest()[:16], "little")))
    density = np.float32(source.parameters["density"])
    for block in blocks(layer.shape):
        values = source.delta.rows(block)
        yield np.where(draw.random(values.shape, dtype=np.float32) < density, values, np.float32(0.0))


def _factor(layer: Layer, source: Source, parameters: Parameters) -> np.float32:
    """What the surviving entries are multiplied by."""
    if parameters["rescale"] == "inverse_density":
        return np.float32(1.0 / source.parameters["density"])
    before = sum(float(np.abs(source.delta.rows(block)).sum(dtype=np.float64)) for block in blocks(layer.shape))
    after = sum(float(np.abs(part).sum(dtype=np.float64)) for part in _masked(layer, source, parameters["seed"]))
    return np.float32(before / after if after else 0.0)


METHOD = Method(
    name="dare",
    title="DARE",
    summary="Drops entries of each update at random and rescales the rest, so that fewer of them collide.",
    reference=Reference(
        "Yu et al.", "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
        2024, "https://arxiv.org/abs/2311.03099",
    ),
    parameters=(
        Parameter(
            "density", "float", 0.5, "Chance of each entry to survive.",
            minimum=0.0, maximum=1.0, above_minimum=True, per_input=True,
        ),
        scale("auto", "Scales the merged update."),
        Parameter(
            "combine", "choice", "linear", "What follows the dropping: the sum, or the sign election of TIES.",
            choices=("linear", "ties"),
        ),
        Parameter(
            "rescale", "choice", "inverse_density",
            "Survivors are divided by the density (unbiased), or scaled to keep each layer's sum of sizes.",
            choices=("inverse_density", "l1"),
        ),
        Parameter("seed", "int", 0, "Another seed drops other entries.", minimum=0, maximum=2**31 - 1),
        NORMALIZE,
        ZERO_SIGN,
    ),
    run=run,
    exact_on_lora=False,
    space="dense",
    order=40,
)  # fmt: skip
