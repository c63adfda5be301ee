"""DELLA: drop entries at random, small ones of a row rather than large ones, then add up or elect signs as in TIES."""

from __future__ import annotations

import numpy as np

from merges.methods.dare import draws, sizes
from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference, Source, scale
from merges.methods.deltas import Array, Blockwise, Delta, weighted_sum
from merges.methods.election import NORMALIZE, ZERO_SIGN, Part, elect
from merges.methods.scratch import borrowed


def run(layer: Layer, parameters: Parameters) -> Delta:
    """τ̂ = m ⊙ τ / p, m ~ Bernoulli(p); then λ Σ wᵢτ̂ᵢ or TIES' election (Deep et al. 2024, MagPrune).

    Within each row p grows with the rank of |τ| in even steps from density − window to density + window, cut off at 0
    and 1; equal entries rank by position. The draw depends only on seed, layer and input, never on blocks or order.
    """
    parts = [_pruned(layer, source, parameters) for source in layer.sources]
    if parameters["combine"] == "ties":
        return elect(layer.shape, parts, layer.weights, parameters, parameters["lambda"])
    deltas = [Blockwise(layer.shape, part) for part in parts]
    return weighted_sum(deltas, [parameters["lambda"] * weight for weight in layer.weights])


def chances(values: Array, density: float, window: float) -> Array:
    """Each entry's chance to survive, by the rank of its size in its row (rows × columns, float32)."""
    columns = values.shape[1]
    steps = np.linspace(density - window, density + window, columns) if columns > 1 else np.array([density])
    result = np.empty(values.shape, np.float32)
    order = np.argsort(np.abs(values), axis=1, kind="stable")
    np.put_along_axis(result, order, np.clip(steps, 0.0, 1.0).astype(np.float32)[None, :], axis=1)
    return result


def _pruned(layer: Layer, source: Source, parameters: Parameters) -> Part:
    """Row blocks of the delta with dropped entries at zero and each of the rest over its own chance."""
    numbers = draws(parameters["seed"], layer, source)
    density, window = source.parameters["density"], source.parameters["window"]

    def part(block: slice, out: Array) -> None:
        source.delta.rows(block, out)
        likely = chances(out, density, window)
        with borrowed(out.shape) as (drawn,):
            numbers(block.start * layer.shape[1], drawn)
            out *= drawn < likely
        if parameters["rescale"] == "inverse_chance":
            np.divide(out, likely, out=out, where=likely > 0)

    if parameters["rescale"] != "l1":
        return part
    before, after = sizes(source.delta), sizes(Blockwise(layer.shape, part))
    factor = np.float32(before / after if after else 0.0)

    def rescaled(block: slice, out: Array) -> None:
        part(block, out)
        out *= factor

    return rescaled


METHOD = Method(
    name="della",
    title="DELLA",
    summary="Drops entries at random like DARE, but large entries of a row are likelier to survive than small ones.",
    reference=Reference(
        "Deep et al.", "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling", 2024,
        "https://arxiv.org/abs/2406.11617",
    ),
    parameters=(
        Parameter(
            "density", "float", 0.5, "Mean chance of an entry to survive.",
            minimum=0.0, maximum=1.0, above_minimum=True, per_input=True,
        ),
        Parameter(
            "window", "float", 0.15, "How much likelier than that a row's largest entry survives, and how much less "
            "its smallest.", minimum=0.0, maximum=0.5, per_input=True,
        ),
        scale("auto", "Scales the merged update."),
        Parameter(
            "combine", "choice", "ties", "What follows the dropping: TIES' sign election, or the sum.",
            choices=("linear", "ties"),
        ),
        Parameter(
            "rescale", "choice", "inverse_chance",
            "Survivors are divided by their chance (unbiased), scaled to keep a layer's sum of sizes, or left alone.",
            choices=("inverse_chance", "l1", "none"),
        ),
        Parameter("seed", "int", 0, "Another seed drops other entries.", minimum=0, maximum=2**31 - 1),
        NORMALIZE,
        ZERO_SIGN,
    ),
    run=run,
    exact_on_lora=False,
    space="dense",
    order=41,
)  # fmt: skip
