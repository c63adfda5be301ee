"""Fisher merging: each entry follows the inputs to which that entry matters most."""

from __future__ import annotations

import numpy as np

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference, Source, scale
from merges.methods.deltas import Array, Blockwise, Delta


def run(layer: Layer, parameters: Parameters) -> Delta:
    """τ* = λ Σ wᵢFᵢτᵢ / Σ wᵢFᵢ entry by entry, Fᵢ = max(F, floor) (Matena & Raffel 2022, in delta form).

    The base cancels, so nothing but the updates is read. An input without a Fisher at this layer counts as flat there
    (its floor); where no input has one, that is the weighted mean.
    """

    def fill(block: slice, out: Array) -> None:
        above = np.zeros(out.shape)
        below = np.zeros_like(above)
        for source in layer.sources:
            importance = source.weight * _importance(source, block, layer, parameters)
            above += importance * source.delta.rows(block)
            below += importance
        out[:] = parameters["lambda"] * np.divide(above, below, out=np.zeros_like(above), where=below != 0)

    return Blockwise(layer.shape, fill)


def _importance(source: Source, block: slice, layer: Layer, parameters: Parameters) -> Array:
    """The Fisher of a block in float64, never below the floor."""
    fisher = source.statistics.fisher
    if fisher is None:
        return np.full((block.stop - block.start, layer.shape[1]), parameters["floor"])
    factor = 1.0 if parameters["normalize"] == "norm" else source.statistics.fisher_norm
    return np.maximum(fisher.rows(block).astype(np.float64) * factor, parameters["floor"])


METHOD = Method(
    name="fisher",
    title="Fisher",
    summary="A mean in which every entry counts by how much it matters to each input's own task.",
    reference=Reference(
        "Matena & Raffel", "Merging Models with Fisher-Weighted Averaging", 2022, "https://arxiv.org/abs/2111.09832"
    ),
    parameters=(
        scale(1.0, "Scales the merged update."),
        Parameter(
            "floor", "float", 1e-6, "The least importance an entry has.", minimum=0.0, maximum=1.0, above_minimum=True
        ),
        Parameter(
            "normalize", "choice", "norm", "Divide each input's Fisher by its length first, or take it as measured.",
            choices=("norm", "none"),
        ),
    ),
    run=run,
    exact_on_lora=False,
    space="dense",
    order=44,
    needs=("fisher",),
)  # fmt: skip
