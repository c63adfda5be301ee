"""The output folder: safetensors with fixed bytes, a configuration peft loads, heads, recipe and report."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from adapters.formats.safetensors_header import BITS
from adapters.formats.values import Array, round_to
from merges.recipes import Recipe
from merges.running.adapters import Adapter, Site

PREFIX = "base_model.model."
STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Stored:
    """One tensor as its bytes in a file; `dtype` as safetensors names it."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def rounded(values: Array, dtype: str) -> Array:
    """Float32 values after a trip through the output's type."""
    result: Array = round_to(values, STORED[dtype]).astype(np.float32)
    return result


def stored(values: Array, dtype: str) -> Stored:
    """Values in the output's type (float32, float16 or bfloat16, ties to even), little-endian."""
    name = STORED[dtype]
    cast = round_to(np.ascontiguousarray(values), name)
    if name == "BF16":
        cast = (np.ascontiguousarray(cast).view(np.uint32) >> np.uint32(16)).astype("<u2")
    return Stored(name, tuple(values.shape), cast.tobytes())


def header_bytes(
    tensors: Sequence[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Length and header of a safetensors file with these (name, dtype, shape) in this order, padded to eight bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    position = 0
    for name, dtype, shape in tensors:
        end = position + math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def too_large(name: str, dtype: str) -> str:
    """The sentence for a result that its type cannot hold."""
    hint = " Choose bfloat16 or float32." if dtype == "float16" else " Give smaller weights."
    return f"{name} holds values that are too large for {dtype}.{hint}"


def safetensors(tensors: Mapping[str, Stored], metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file: tensors in the order of their names, always the same bytes."""
    ordered = sorted(tensors.items())
    header = header_bytes([(name, tensor.dtype, tensor.shape) for name, tensor in ordered], metadata)
    return b"".join([header, *(tensor.data for _, tensor in ordered)])


@dataclass(frozen=True)
class Planned:
    """A tensor that is made when its turn to be written comes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Stored]

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class OutputFolder:
    """A new folder that appears with all its files or not at all: filled beside its place, then renamed.

    `hashes` are the sha256 of what was written. Raises FileExistsError if the place is taken.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._partial = output.with_name(output.name + ".partial")
        self.hashes: dict[str, str] = {}

    def __enter__(self) -> OutputFolder:
        if self._output.exists() and not (self._output.is_dir() and not any(self._output.iterdir())):
            raise FileExistsError(f"The folder {self._output.name} is not empty. Give a new one for the result.")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._partial.rename(self._output)
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def put(self, name: str, data: bytes) -> None:
        """Write one file."""
        self.write(name, [data])

    def stream(self, name: str, tensors: Sequence[Planned]) -> None:
        """Write a safetensors file one tensor at a time."""
        ordered = sorted(tensors, key=lambda tensor: tensor.name)
        header = header_bytes([(tensor.name, tensor.dtype, tensor.shape) for tensor in ordered])
        self.write(name, itertools.chain([header], (tensor.make().data for tensor in ordered)))

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Write one file from its parts."""
        path = self._partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for part in parts:
                file.write(part)
                digest.update(part)
        self.hashes[name] = digest.hexdigest()


def lora_config(
    recipe: Recipe, adapters: Sequence[Adapter], ranks: Mapping[Site, int], lora_bias: bool, heads: Sequence[str]
) -> dict[str, Any]:
    """A LoRA configuration with scaling 1 everywhere: alpha = r, and equal rank and alpha patterns where ranks differ.

    Modules are named in full, so nothing else of the base can match.
    """
    usual = Counter(ranks.values()).most_common()
    rank = max(value for value, count in usual if count == usual[0][1])
    pattern = {site.module: value for site, value in sorted(ranks.items()) if value != rank}
    return _common(recipe, adapters, heads) | {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": sorted(site.module for site in ranks),
        "use_rslora": False,
        "use_dora": False,
        "lora_bias": lora_bias,
        "lora_dropout": 0.0,
        "bias": "none",
        "init_lora_weights": True,
    }


def ia3_config(
    recipe: Recipe, adapters: Sequence[Adapter], shapes: Mapping[Site, tuple[int, ...]], heads: Sequence[str]
) -> dict[str, Any]:
    """An IA3 configuration; a vector stored as one row scales a layer's input, which peft calls feedforward."""
    return _common(recipe, adapters, heads) | {
        "peft_type": "IA3",
        "target_modules": sorted(site.module for site in shapes),
        "feedforward_modules": sorted(site.module for site, shape in shapes.items() if shape[:1] == (1,)),
        "init_ia3_weights": True,
    }


def _common(recipe: Recipe, adapters: Sequence[Adapter], heads: Sequence[str]) -> dict[str, Any]:
    configs = [adapter.config for adapter in adapters]
    bases = [config.base_model for config in configs if config.base_model]
    task_types = {config.task_type for config in configs}
    revisions = {config.revision for config in configs}
    base = recipe.base
    return {
        "base_model_name_or_path": base.model if base else next(iter(bases), None),
        "revision": base.revision if base else revisions.pop() if len(revisions) == 1 else None,
        "task_type": task_types.pop() if len(task_types) == 1 else None,
        "fan_in_fan_out": configs[0].fan_in_fan_out,
        "modules_to_save": list(heads) or None,
        "inference_mode": True,
    }
