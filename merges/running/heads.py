"""Heads (modules_to_save): kept per parent, since heads of two tasks share nothing; averaged only when asked."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from merges.recipes import Problem, Recipe, RecipeError
from merges.running.adapters import Adapter, LocalAdapter, read_adapter
from merges.running.writing import Stored, safetensors, stored


def kept_heads(adapters: Sequence[Adapter]) -> dict[str, bytes]:
    """heads/<owner>--<name>.safetensors with the parent's own bytes and names, and its labels beside it.

    A head file and the merged adapter_model.safetensors together are the whole adapter for that parent's task.
    """
    files: dict[str, bytes] = {}
    for adapter in adapters:
        if not adapter.heads:
            continue
        name = _file_name(adapter.said["name"], files)
        infos = [adapter.file.header.tensors[role.name] for role in adapter.heads]
        tensors = {
            info.name: Stored(info.dtype, info.shape, b"".join(adapter.file.raw_chunks(info.name))) for info in infos
        }
        files[f"heads/{name}.safetensors"] = safetensors(tensors)
        if adapter.labels is not None:
            files[f"heads/{name}.labels.json"] = labels_json(adapter.labels)
    return files


def write_heads(inputs: Sequence[LocalAdapter], folder: Path) -> dict[str, Path]:
    """The head file of every input that has one, as a merge of them would keep it, by the input's name."""
    with ExitStack() as open_files:
        adapters = [read_adapter(local, f"inputs[{number}]", open_files) for number, local in enumerate(inputs)]
        files = kept_heads(adapters)
    for path, data in files.items():
        target = folder / path.removeprefix("heads/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    names = (path for path in files if path.endswith(".safetensors"))
    with_heads = (adapter.name for adapter in adapters if adapter.heads)
    return {name: folder / path.removeprefix("heads/") for name, path in zip(with_heads, names, strict=True)}


def mean_head(recipe: Recipe, adapters: Sequence[Adapter]) -> dict[str, Stored]:
    """Σ wᵢhᵢ / Σ wᵢ for each tensor of the head, float32. A head has no base to be a delta of, so this is all there is.

    Raises RecipeError if heads, labels or shapes differ, or the weights add up to zero.
    """
    layouts = {
        tuple(sorted((role.name, adapter.file.header.tensors[role.name].shape) for role in adapter.heads))
        for adapter in adapters
    }
    total = sum(entry.weight for entry in recipe.inputs)
    if len(layouts) > 1 or len({adapter.labels for adapter in adapters}) > 1 or not total:
        message = "The heads differ in labels or sizes, or their weights add up to zero. Set heads to keep."
        raise RecipeError([Problem("output.heads", "error", message)])
    result: dict[str, Stored] = {}
    for role in adapters[0].heads:
        value = np.zeros(adapters[0].file.header.tensors[role.name].shape, np.float32)
        for adapter, entry in zip(adapters, recipe.inputs, strict=True):
            value += np.float32(entry.weight / total) * adapter.file.read(role.name).astype(np.float32)
        result[role.name] = stored(value, recipe.output.dtype)
    return result


def labels_json(labels: Sequence[str]) -> bytes:
    """The text of a labels.json."""
    return (json.dumps(list(labels), ensure_ascii=False, indent=2) + "\n").encode()


def _file_name(owner_and_name: str, taken: dict[str, bytes]) -> str:
    """owner--name, safe as a file name; a second revision of the same adapter gets a number."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", owner_and_name.replace("/", "--")).lstrip(".") or "adapter"
    number, result = 2, name
    while f"heads/{result}.safetensors" in taken:
        result, number = f"{name}--{number}", number + 1
    return result
