"""The controls of a comparison: what a merge must beat before anything is said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from adapters.formats.values import TensorFile
from merges.running.writing import Stored, safetensors, stored

WEIGHTS = "adapter_model.safetensors"


def random_adapter(like: Path, folder: Path, seed: int) -> Path:
    """An adapter of random values with the same shapes and, module by module, the same ‖ΔW‖ as the one in `like`.

    Recycled adapters are only worth something beyond this control (Liu et al. 2026). `like` must be a merge written by
    this hub: scaling 1, factors B and A. Heads are copied, so both answer the same tasks.
    """
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns(WEIGHTS))
    draw = np.random.Generator(np.random.PCG64(seed))
    tensors: dict[str, Stored] = {}
    with TensorFile(like / WEIGHTS) as file:
        for name in sorted(file.header.tensors):
            if "lora_A" not in name and "lora_embedding_A" not in name:
                continue
            other = name.replace("lora_A", "lora_B").replace("lora_embedding_A", "lora_embedding_B")
            right, left = file.read(name), file.read(other)
            length = _length(left.reshape(len(left), -1), right.reshape(len(right), -1))
            new_right = draw.standard_normal(right.shape, dtype=np.float32)
            new_left = draw.standard_normal(left.shape, dtype=np.float32)
            own = _length(new_left.reshape(len(left), -1), new_right.reshape(len(right), -1))
            tensors[name] = stored(new_right, "float32")
            tensors[other] = stored(new_left * np.float32(length / own if own else 0.0), "float32")
        for name in sorted(set(file.header.tensors) - set(tensors)):
            value = file.read(name).astype(np.float32)
            start = np.float32(1.0 if name.endswith("ia3_l") else 0.0)
            turned = draw.standard_normal(value.shape, dtype=np.float32)
            scale = np.linalg.norm(value - start) / np.linalg.norm(turned)
            tensors[name] = stored(start + turned * np.float32(scale), "float32")
    (folder / WEIGHTS).write_bytes(safetensors(tensors))
    return folder


def _length(left: np.ndarray, right: np.ndarray) -> float:
    """‖left · right‖ in float64, without the product."""
    grams = (left.T.astype(np.float64) @ left) * (right.astype(np.float64) @ right.T)
    return float(np.sqrt(max(grams.sum(), 0.0)))
