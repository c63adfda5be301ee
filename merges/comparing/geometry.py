"""What the weights alone say of a merge: how its inputs' directions collide, and how much of each it still holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from merges.methods.deltas import Array, LowRank, norm, svd
from merges.running import LocalAdapter
from merges.running.adapters import Adapter, Site, read_adapter

RESIDUAL = 0.05


def interference(inputs: Sequence[LocalAdapter]) -> float | None:
    """Singular task interference ‖(UᵀU − I) Σ (VᵀV − I)‖₁, mean over matrices (Gargiulo et al. 2025).

    U, Σ, V are all inputs' singular triplets side by side. 0 when no two inputs share a direction; None without
    matrices.
    """
    found = []
    with ExitStack() as files:
        adapters = [read_adapter(item, "inputs", files) for item in inputs]
        for site in _matrices(adapters):
            triplets = [svd(adapter.delta(site)) for adapter in adapters if site in adapter.sites]
            left, right = (np.concatenate([parts[axis] for parts in triplets], axis=1) for axis in (0, 2))
            sigma = np.concatenate([strengths for _, strengths, _ in triplets])
            identity = np.eye(sigma.size)
            found.append(float(np.abs((left.T @ left - identity) * sigma @ (right.T @ right - identity)).sum()))
    return float(np.mean(found)) if found else None


def alignment(inputs: Sequence[LocalAdapter], merged: Path) -> list[float | None]:
    """Subspace alignment ratio ‖Π τᵢ‖/‖τᵢ‖ of each input with a merge, mean over matrices (Marczak et al. 2025).

    Π projects on the merge's leading left singular vectors, as many as leave at most 5 % of its norm out. The paper
    finds it go with each task's progress (correlation 0.94): a forecast that needs no data. None for an input without
    matrices in the merge.
    """
    shares: list[list[float]] = [[] for _ in inputs]
    with ExitStack() as files:
        adapters = [read_adapter(item, "inputs", files) for item in inputs]
        result = read_adapter(LocalAdapter("the merge", merged), "merge", files)
        for site in _matrices([result]):
            basis = _leading(result, site)
            for adapter, own in zip(adapters, shares, strict=True):
                delta = adapter.delta(site) if site in adapter.sites else None
                if isinstance(delta, LowRank) and (length := norm(delta)):
                    projected = LowRank(basis.T @ delta.left.astype(np.float64), delta.right.astype(np.float64))
                    own.append(min(1.0, norm(projected) / length))
    return [float(np.mean(own)) if own else None for own in shares]


def _matrices(adapters: Sequence[Adapter]) -> list[Site]:
    sites = frozenset[Site]().union(*(adapter.sites for adapter in adapters))
    return sorted(site for site in sites if site.kind in ("linear", "embedding"))


def _leading(adapter: Adapter, site: Site) -> Array:
    """The leading left singular vectors (m × k) that hold all but 5 % of the update's norm."""
    u, sigma, _ = svd(adapter.delta(site))
    if not sigma.size:
        return u
    left_out = np.sqrt(np.maximum(1.0 - np.cumsum(sigma**2) / (sigma**2).sum(), 0.0))
    return u[:, : 1 + int(np.argmax(left_out <= RESIDUAL))]
