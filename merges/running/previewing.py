"""What a merge would be like, from sketches alone: how the inputs lie to each other, what it would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from merges.methods.deltas import Array
from merges.recipes import Recipe
from merges.running.geometry import cosines
from merges.running.sketching import PROJECTED, Sketch, SketchedLayer

DUPLICATE, SHARED_START, UNEQUAL = 0.95, 0.8, 10.0
FACTORED_RATE, DENSE_RATE = 5e9, 4e7


def preview(recipe: Recipe, sketches: Sequence[Sketch]) -> dict[str, Any]:
    """Cosines, sign conflict by kind of layer, lengths, alignment, warnings in sentences, and estimates.

    Cosines and conflicts are estimated from sampled entries; lengths are exact.
    """
    names = [entry.adapter for entry in recipe.inputs]
    weights = [entry.weight for entry in recipe.inputs]
    sites = sorted(set().union(*sketches))
    lengths = [math.sqrt(sum(layer.norm**2 for layer in sketch.values())) for sketch in sketches]
    products = sum((_products(site, sketches) for site in sites), np.zeros((len(names), len(names))))
    matrix = cosines(products)
    inputs, outputs = _alignment(sketches, "inputs"), _alignment(sketches, "outputs")
    return {
        "inputs": names,
        "norms": lengths,
        "cosines": matrix,
        "conflict": _conflict(sites, sketches, weights, lambda _: "all")["all"] if sites else 0.0,
        "conflict_by_layer": _conflict(sites, sketches, weights, _kind_of),
        "input_alignment": inputs,
        "output_alignment": outputs,
        "warnings": _warnings(names, lengths, matrix, inputs),
        **_estimates(recipe, sites, sketches),
    }


def _products(site: str, sketches: Sequence[Sketch]) -> Array:
    """Estimated ⟨ΔWᵢ, ΔWⱼ⟩ at one place; exact on the diagonal."""
    layers = [sketch.get(site) for sketch in sketches]
    known = next(layer for layer in layers if layer)
    empty = np.zeros_like(known.entries)
    stacked = np.stack([layer.entries if layer and layer.shape == known.shape else empty for layer in layers])
    sampled = stacked.astype(np.float64)
    lengths = np.linalg.norm(sampled, axis=1)
    exact = np.array([layer.norm if layer else 0.0 for layer in layers])
    scale = np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths > 0)
    result: Array = (sampled @ sampled.T) * np.outer(scale, scale)
    return result


def _conflict(
    sites: Sequence[str], sketches: Sequence[Sketch], weights: Sequence[float], group: Any
) -> dict[str, float]:
    """1 − |Σ wᵢτᵢ|/Σ|wᵢτᵢ| by kind of layer, each layer counted at its full size."""
    mass: dict[str, float] = {}
    left: dict[str, float] = {}
    for site in sites:
        layers = [(sketch[site], weight) for sketch, weight in zip(sketches, weights, strict=True) if site in sketch]
        known = layers[0][0]
        parts = [layer.entries * weight for layer, weight in layers if layer.shape == known.shape]
        scale = known.shape[0] * known.shape[1] / max(1, known.entries.size)
        name = group(site)
        mass[name] = mass.get(name, 0.0) + scale * float(sum(np.abs(part).sum() for part in parts))
        left[name] = left.get(name, 0.0) + scale * float(np.abs(sum(parts)).sum())
    return {name: max(0.0, 1.0 - left[name] / value) if value else 0.0 for name, value in sorted(mass.items())}


def _kind_of(site: str) -> str:
    """The last names of a module that are no numbers: attention.self.query, mlp.down_proj."""
    parts = site.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    return ".".join(parts[numbers[-1] + 1 :] if numbers else parts[-1:])


def _alignment(sketches: Sequence[Sketch], side: str) -> list[list[float | None]]:
    """Mean share of each pair's strongest directions that coincide, 0 to 1, with the projection's noise taken off."""
    count = len(sketches)
    result: list[list[float | None]] = [
        [1.0 if one == other else None for other in range(count)] for one in range(count)
    ]
    for one, other in combinations(range(count), 2):
        values = []
        for site in set(sketches[one]) & set(sketches[other]):
            first, second = getattr(sketches[one][site], side), getattr(sketches[other][site], side)
            if len(first) and len(second):
                noise = len(first) * len(second) / PROJECTED
                values.append((float(np.square(first @ second.T).sum()) - noise) / min(len(first), len(second)))
        if values:
            result[one][other] = result[other][one] = float(np.clip(np.mean(values), 0.0, 1.0))
    return result


def _warnings(
    names: Sequence[str], lengths: Sequence[float], matrix: list[list[float | None]], inputs: list[list[float | None]]
) -> list[str]:
    said = []
    for one, other in combinations(range(len(names)), 2):
        cosine, aligned = matrix[one][other], inputs[one][other]
        if cosine is not None and cosine > DUPLICATE:
            said.append(f"{names[one]} and {names[other]} are almost the same update (cosine {cosine:.2f}).")
        elif aligned is not None and aligned > SHARED_START:
            said.append(
                f"{names[one]} and {names[other]} read almost the same input directions ({aligned:.0%}): probably both "
                "started from one seed. TSV-M, Iso and shared spaces have little to separate there."
            )
        short, long = sorted((lengths[one], lengths[other]))
        if short and long / short > UNEQUAL:
            loud, quiet = (names[one], names[other]) if lengths[one] == long else (names[other], names[one])
            more = f"{long / short:.0f} times longer than {quiet}"
            said.append(f"{loud} is {more} and will drown it: lower its weight.")
    return said


def _estimates(recipe: Recipe, sites: Sequence[str], sketches: Sequence[Sketch]) -> dict[str, Any]:
    """Ranks, bytes of the result, seconds on one core, and memory; rough, to a factor of two or so."""
    factored = recipe.declared.exact_on_lora
    numbers, seconds, largest, rank_out = 0, 1.0, 0, 0
    for site in sites:
        layers = [sketch[site] for sketch in sketches if site in sketch]
        rows, columns = layers[0].shape
        total = sum(layer.rank for layer in layers)
        size, rank = rows * columns, _rank(recipe, layers, total)
        numbers += rank * (rows + columns) if rank else size
        rank_out = max(rank_out, rank)
        if factored:
            seconds += (6 * (rows + columns) * total**2 + 30 * total**3) / FACTORED_RATE
        elif recipe.space == "core":
            seconds += (8 * (rows + columns) * total**2 + 60 * total**3) / FACTORED_RATE
        else:
            seconds += size * len(layers) / DENSE_RATE + min(rows, columns) * size * 2 / (4 * FACTORED_RATE)
        largest = max(largest, size * 4 * (2 if factored else 6))
    width = 4 if recipe.output.dtype == "float32" else 2
    size = recipe.output.max_bytes or numbers * width
    return {
        "bytes": int(size),
        "seconds": round(seconds, 1),
        "memory": int(120e6 + largest + numbers * 4),
        "rank": rank_out,
    }


def _rank(recipe: Recipe, layers: Sequence[SketchedLayer], total: int) -> int:
    limit = min(layers[0].shape)
    if limit == 1:
        return 0
    if isinstance(recipe.output.rank, int):
        return min(recipe.output.rank, limit)
    return min(total, limit)
