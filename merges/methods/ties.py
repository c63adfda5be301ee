"""TIES: trim each update to its largest entries, elect a sign per entry, average what agrees."""

from __future__ import annotations

from collections.abc import Sequence

from merges.methods.declaration import Layer, Layers, Method, Parameter, Parameters, Reference, scale
from merges.methods.deltas import Array, Delta
from merges.methods.election import NORMALIZE, ZERO_SIGN, Part, elect
from merges.methods.trimming import cut, keep_over_all_layers, kept_count


def run(layer: Layer, parameters: Parameters) -> Delta:
    """Trim, elect, disjoint mean, scale by λ (Yadav et al. 2023); float32, one layer at a time in row blocks."""
    size = layer.shape[0] * layer.shape[1]
    parts = [
        trimmed(source.delta, kept_count(size, source.parameters["density"]) if source.keep is None else source.keep)
        for source in layer.sources
    ]
    return elect(layer.shape, parts, layer.weights, parameters, parameters["lambda"])


def trimmed(delta: Delta, keep: int) -> Part:
    """Blocks of a delta with all but its `keep` largest entries at zero."""
    one = cut(delta, keep)

    def part(block: slice, out: Array) -> None:
        delta.rows(block, out)
        one.trim(out, block.start * delta.shape[1])

    return part


def survey(layers: Layers, parameters: Parameters) -> dict[str, Sequence[int | None]]:
    """For `trim_scope: global`, how many entries each source keeps in each layer; nothing for `tensor`."""
    if parameters["trim_scope"] == "tensor":
        return {}
    first = next(iter(layers()), None)
    densities = [source.parameters["density"] for source in first.sources] if first else []
    return {name: list(counts) for name, counts in keep_over_all_layers(layers, densities).items()}


METHOD = Method(
    name="ties",
    title="TIES",
    summary="Keeps the largest entries of each update and lets the inputs vote on every sign before averaging.",
    reference=Reference(
        "Yadav et al.", "TIES-Merging: Resolving Interference When Merging Models", 2023,
        "https://arxiv.org/abs/2306.01708",
    ),
    parameters=(
        Parameter(
            "density", "float", 0.2, "Share of entries each update keeps, by size.",
            minimum=0.0, maximum=1.0, above_minimum=True, per_input=True,
        ),
        scale(1.0, "Scales the merged update."),
        Parameter(
            "trim_scope", "choice", "tensor", "Choose the largest entries layer by layer, or over the whole adapter.",
            choices=("tensor", "global"),
        ),
        NORMALIZE,
        ZERO_SIGN,
    ),
    run=run,
    survey=survey,
    exact_on_lora=False,
    space="dense",
    order=30,
)  # fmt: skip
