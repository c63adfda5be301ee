"""The output folder: safetensors with fixed bytes, a configuration peft loads, heads, recipe and report."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


def safetensors(tensors: Mapping[str, Stored]) -> bytes:
    """A safetensors file: tensors in the order of their names, header padded to eight bytes, always the same bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in sorted(tensors.items()):
        end = position + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(tensor.data for _, tensor in sorted(tensors.items()))])


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
        "feedforward_modules": sorted(site.module for site, shape in shapes.items() if shape[0] == 1),
        "init_ia3_weights": True,
    }


def write_folder(output: Path, files: Mapping[str, bytes]) -> None:
    """Write all files at once: into a folder beside `output` first, then by one rename.

    Raises FileExistsError if `output` is there and not an empty folder.
    """
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name, data in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise FileExistsError(f"The folder {output.name} is not empty. Give a new one for the result.")
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def count(tensors: Mapping[str, Stored]) -> int:
    """Number of parameters."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


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
