"""DARE: drop entries of each update at random, rescale the rest, then add up or elect signs as TIES does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference, Source, scale
from merges.methods.deltas import Array, Blockwise, Delta, blocks, weighted_sum
from merges.methods.election import NORMALIZE, ZERO_SIGN, Part, elect
from merges.methods.scratch import borrowed, mask_in


def run(layer: Layer, parameters: Parameters) -> Delta:
    """τ̂ = m ⊙ τ / p with m ~ Bernoulli(p), p the density; then λ Σ wᵢτ̂ᵢ or TIES' election (Yu et al. 2024).

    The draw depends only on the seed, the layer's name and the input's identity, never on blocks or order.
    """
    dropped = [_dropped(layer, source, parameters) for source in layer.sources]
    if parameters["combine"] == "ties":
        return elect(layer.shape, dropped, layer.weights, parameters, parameters["lambda"])
    parts = [Blockwise(layer.shape, part) for part in dropped]
    return weighted_sum(parts, [parameters["lambda"] * weight for weight in layer.weights])


def _dropped(layer: Layer, source: Source, parameters: Parameters) -> Part:
    """Row blocks of the delta with dropped entries at zero and the rest rescaled."""
    density, numbers = np.float32(source.parameters["density"]), draws(parameters["seed"], layer, source)

    def masked(block: slice, out: Array) -> None:
        with borrowed(out.shape, 2) as (chances, flags):
            numbers(block.start * layer.shape[1], chances)
            kept = mask_in(flags)
            np.less(chances, density, out=kept)
            source.delta.rows(block, out)
            out *= kept

    if parameters["rescale"] == "inverse_density":
        factor = np.float32(1.0 / source.parameters["density"])
    else:
        before, after = sizes(source.delta), sizes(Blockwise(layer.shape, masked))
        factor = np.float32(before / after if after else 0.0)

    def rescaled(block: slice, out: Array) -> None:
        masked(block, out)
        out *= factor

    return rescaled


def draws(seed: int, layer: Layer, source: Source) -> Callable[[int, Array], None]:
    """Uniform numbers for each entry of an input's layer; called with a flat position and what to fill from there on.

    Float32 numbers take half a step of the generator each, so any place can be reached at once.
    """
    text = f"{seed}\0{layer.name}\0{source.identity}".encode()
    state = int.from_bytes(hashlib.sha256(text).digest()[:16], "little")

    def fill(start: int, out: Array) -> None:
        draw = np.random.Generator(np.random.PCG64(state).advance(start // 2))
        if start % 2:
            draw.random(dtype=np.float32)
        draw.random(dtype=np.float32, out=out)

    return fill


def sizes(delta: Delta) -> float:
    """Σ|x| in float64."""
    return sum(float(np.abs(delta.rows(block)).sum(dtype=np.float64)) for block in blocks(delta.shape))


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
