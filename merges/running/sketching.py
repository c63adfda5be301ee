"""A few numbers for each place an adapter changes, from which a merge is previewed without opening its weights.

For every layer: its exact length, the same fixed sample of entries of ΔW in every adapter, and its strongest input and
output directions seen through a fixed random projection. Numpy only, a few hundred kilobytes for a large adapter.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from merges.methods.deltas import Array, Delta, LowRank, norm, svd
from merges.running.adapters import LocalAdapter, read_adapter, refused

ENTRIES = 2048
PROJECTED = 64
DIRECTIONS = 4
VERSION = 1


@dataclass(frozen=True)
class SketchedLayer:
    """One place: (rows, columns) and rank, ‖ΔW‖, sampled entries, projected directions of inputs and outputs."""

    name: str
    kind: str
    shape: tuple[int, int]
    rank: int
    norm: float
    entries: Array
    inputs: Array
    outputs: Array


Sketch = dict[str, SketchedLayer]


def sketch_adapter(local: LocalAdapter) -> Sketch:
    """The sketch of an adapter in a folder. Raises RecipeError if it cannot be merged."""
    with ExitStack() as open_files:
        adapter = read_adapter(local, "inputs[0]", open_files)
        result = {}
        for site in sorted(adapter.sites):
            delta = adapter.delta(site)
            length = norm(delta)
            if not math.isfinite(length):
                raise refused(local, "inputs[0]", f"The weights of {site.name} hold NaN or infinite values.")
            inputs, outputs = _directions(site.name, delta)
            result[site.name] = SketchedLayer(
                site.name,
                site.kind,
                delta.shape,
                adapter.rank(site),
                length,
                _entries(site.name, delta),
                inputs,
                outputs,
            )
        return result


def pack(sketch: Sketch) -> bytes:
    """A sketch as bytes."""
    layers = list(sketch.values())
    facts = [[layer.name, layer.kind, list(layer.shape), layer.rank, layer.norm] for layer in layers]
    arrays: dict[str, Array] = {}
    for number, layer in enumerate(layers):
        largest = float(np.abs(layer.entries).max(initial=0.0)) or 1.0
        facts[number].append(largest)
        arrays[f"e{number}"] = (layer.entries / largest).astype(np.float16)
        arrays[f"i{number}"], arrays[f"o{number}"] = layer.inputs.astype(np.float16), layer.outputs.astype(np.float16)
    file = io.BytesIO()
    told = np.frombuffer(json.dumps({"version": VERSION, "layers": facts}).encode(), np.uint8)
    np.savez(file, facts=told, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpack(data: bytes) -> Sketch:
    """The sketch behind bytes that `pack` made. Raises ValueError for another version."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        told: dict[str, Any] = json.loads(stored["facts"].tobytes())
        if told["version"] != VERSION:
            raise ValueError("This sketch is of another version.")
        result = {}
        for number, (name, kind, shape, rank, length, largest) in enumerate(told["layers"]):
            entries = stored[f"e{number}"].astype(np.float32) * np.float32(largest)
            inputs, outputs = stored[f"i{number}"].astype(np.float32), stored[f"o{number}"].astype(np.float32)
            result[name] = SketchedLayer(name, kind, (shape[0], shape[1]), rank, length, entries, inputs, outputs)
    return result


def _draw(name: str, part: str, shape: tuple[int, int]) -> np.random.Generator:
    """Random numbers that are the same for this place in every adapter."""
    text = f"{name}\0{part}\0{shape[0]}x{shape[1]}".encode()
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text).digest()[:16], "little")))


def _entries(name: str, delta: Delta) -> Array:
    draw = _draw(name, "entries", delta.shape)
    if delta.shape[0] * delta.shape[1] <= ENTRIES:
        return delta.rows(slice(None)).ravel()
    rows, columns = (draw.integers(0, size, ENTRIES) for size in delta.shape)
    if isinstance(delta, LowRank):
        values: Array = np.einsum("er,er->e", delta.left[rows], delta.right.T[columns])
        return values.astype(np.float32)
    return delta.rows(slice(None))[rows, columns]


def _directions(name: str, delta: Delta) -> tuple[Array, Array]:
    """The strongest right and left singular directions, each through a projection to 64 numbers."""
    if min(delta.shape) == 1:
        return np.zeros((0, PROJECTED)), np.zeros((0, PROJECTED))
    u, _, v = svd(delta)
    pair = []
    for part, vectors, size in (("inputs", v, delta.shape[1]), ("outputs", u, delta.shape[0])):
        signs = _draw(name, part, delta.shape).integers(0, 2, (size, PROJECTED), dtype=np.int8) * 2 - 1
        pair.append(vectors[:, :DIRECTIONS].T @ signs / np.sqrt(PROJECTED))
    return pair[0], pair[1]
