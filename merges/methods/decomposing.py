"""Singular value decomposition of a large dense matrix: on a CUDA device where there is one, else by numpy.

The device sees the matrix in chunks of rows: their Gram matrix is added up, decomposed and carried back by chunks.
Memory that runs out there halves the chunk; when nothing is left to halve, the processor does it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Below this a device's start-up costs more than it saves; and the result stays that of the processor.
WORTH_SENDING = 256
ROWS, FEWEST_ROWS = 1 << 16, 64
NOISE = 1e-7


def decomposed(values: Array) -> tuple[Array, Array, Array]:
    """U (m × k), σ (k), Vᵀ (k × n) of a matrix in float64, k = min(m, n) or, from a device, the directions above noise.

    From a device σ is right to about 1e-8 of the largest (Gram matrix in float64); smaller ones than 1e-7 are left out.
    """
    device = accelerator() if min(values.shape) >= WORTH_SENDING else None
    if device is not None:
        found = by_chunks(values, device)
        if found is not None:
            return found
    u, sigma, vt = np.linalg.svd(values.astype(np.float64), full_matrices=False)
    return u, sigma, vt


@cache
def accelerator() -> str | None:
    """The name of a CUDA device, None without one; torch is not even imported on machines that have none."""
    if not os.path.exists("/proc/driver/nvidia/version") and not os.path.exists("/dev/nvidiactl"):
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else None


def by_chunks(values: Array, device: str, rows: int = ROWS) -> tuple[Array, Array, Array] | None:
    """The decomposition on a torch device, at most `rows` rows there at once; None if even the fewest do not fit."""
    import torch

    if values.shape[0] < values.shape[1]:
        turned = by_chunks(values.T, device, rows)
        return turned and (turned[2].T, turned[1], turned[0].T)
    while True:
        try:
            return _by_chunks(values, device, rows)
        except torch.OutOfMemoryError:
            if device.startswith("cuda"):
                torch.cuda.empty_cache()
            if rows <= FEWEST_ROWS:
                return None
            rows = max(FEWEST_ROWS, min(rows, values.shape[0]) // 2)


def _by_chunks(values: Array, device: str, rows: int) -> tuple[Array, Array, Array]:
    import torch

    width = values.shape[1]
    gram = torch.zeros((width, width), dtype=torch.float64, device=device)
    for part in _parts(values, rows):
        chunk = sent(part, device)
        gram += chunk.T @ chunk
        del chunk
    squares, vectors = torch.linalg.eigh(gram)
    del gram
    squares, vectors = squares.flip(0), vectors.flip(1)
    floor = NOISE**2 * squares[:1].clamp(min=0).max()
    kept = int((squares > floor).sum())
    sigma, vectors = squares[:kept].sqrt(), vectors[:, :kept]
    u = np.concatenate(
        [np.zeros((0, kept)), *((sent(part, device) @ vectors / sigma).cpu().numpy() for part in _parts(values, rows))]
    )
    return u, sigma.cpu().numpy(), vectors.T.contiguous().cpu().numpy()


def _parts(values: Array, rows: int) -> Iterator[Array]:
    return (values[start : start + rows] for start in range(0, len(values), rows))


def sent(part: Array, device: str) -> Any:
    """Some rows on the device, float64. Raises torch.OutOfMemoryError where they do not fit."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(device).double()
