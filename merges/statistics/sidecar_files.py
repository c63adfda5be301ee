"""Measured statistics as the files that are published beside an adapter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from merges.running.sidecars import FOLDER, PROTOTYPE
from merges.running.writing import safetensors, stored


def files_of(
    fisher: Mapping[str, np.ndarray],
    gram: Mapping[str, np.ndarray],
    prototype: np.ndarray | None,
    facts: Mapping[str, str],
) -> dict[str, bytes]:
    """statistics/<kind>.safetensors for each kind that was measured.

    The Fisher is divided by its global L2 norm, which its metadata keep, and rounded to bfloat16; Grams and prototype
    are float32. `facts` (weights_sha256, task, examples, estimator, seed ...) become each file's metadata.
    """
    files = {}
    if fisher:
        norm = float(np.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in fisher.values())))
        tensors = {name: stored(value / np.float32(norm or 1.0), "bfloat16") for name, value in fisher.items()}
        files[f"{FOLDER}/fisher.safetensors"] = safetensors(tensors, {**facts, "norm": f"{norm:.9g}"})
    if gram:
        moments = {name: stored(value, "float32") for name, value in gram.items()}
        files[f"{FOLDER}/gram.safetensors"] = safetensors(moments, facts)
    if prototype is not None:
        files[f"{FOLDER}/prototype.safetensors"] = safetensors({PROTOTYPE: stored(prototype, "float32")}, facts)
    return files
