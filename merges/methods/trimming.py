"""Which entries of a delta are the largest: exactly k of them, equal ones by lowest position.

Selection, not sorting: one partition of |ΔW| finds the threshold, later passes only compare with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from merges.methods.declaration import Layers
from merges.methods.deltas import Array, Delta, blocks, dense

BINS = 1 << 15


@dataclass(frozen=True)
class Cut:
    """Keep |x| > threshold, and |x| = threshold up to flat position `last`."""

    threshold: float
    last: int

    def trimmed(self, values: Array, start: int) -> Array:
        """`values` with what is cut set to zero; `start` is the flat position of the first one."""
        size = np.abs(values)
        kept = size > self.threshold
        if self.last >= start:
            equal = np.flatnonzero(size == self.threshold)
            kept.flat[equal[equal <= self.last - start]] = True
        return np.where(kept, values, np.float32(0.0))


def kept_count(size: int, density: float) -> int:
    """How many of `size` entries a density keeps: max(1, ⌊density·size⌋), at most all."""
    return min(size, max(1, int(density * size)))


def cut(delta: Delta, keep: int) -> Cut:
    """The cut that keeps exactly the `keep` largest |entries|."""
    count = delta.shape[0] * delta.shape[1]
    if keep >= count:
        return Cut(-1.0, -1)
    if keep <= 0:
        return Cut(float("inf"), -1)
    sizes = np.abs(dense(delta)).ravel()
    threshold = np.partition(sizes, count - keep)[count - keep]
    equal = keep - int(np.count_nonzero(sizes > threshold))
    return Cut(float(threshold), int(np.flatnonzero(sizes == threshold)[equal - 1]))


def keep_over_all_layers(layers: Layers, densities: Sequence[float]) -> dict[str, list[int]]:
    """How many entries each source keeps in each layer when its largest are chosen over all layers together.

    Two passes in bounded memory. The upper 16 bits of a float32 grow with its size, so a histogram of them finds the
    bin that holds the threshold; the second pass collects only that bin. Equal values: earlier layers first.
    """
    histograms = np.zeros((len(densities), BINS), np.int64)
    total = 0
    for layer in layers():
        total += layer.shape[0] * layer.shape[1]
        for source, histogram in zip(layer.sources, histograms, strict=True):
            for block in blocks(layer.shape):
                histogram += np.bincount(_bins(source.delta.rows(block)), minlength=BINS)
    wanted = [kept_count(total, density) for density in densities]
    edges = [_edge(histogram, keep) for histogram, keep in zip(histograms, wanted, strict=True)]
    inside: list[list[Array]] = [[] for _ in densities]
    above: list[list[int]] = [[] for _ in densities]
    names = []
    for layer in layers():
        names.append(layer.name)
        for number, source in enumerate(layer.sources):
            count, values = _split(source.delta, edges[number])
            above[number].append(count)
            inside[number].append(values)
    shares = [_share(*parts) for parts in zip(above, inside, wanted, strict=True)]
    return {name: [share[position] for share in shares] for position, name in enumerate(names)}


def _bins(values: Array) -> Array:
    return (np.ascontiguousarray(values).view(np.uint32).ravel() & np.uint32(0x7FFFFFFF)) >> np.uint32(16)


def _edge(histogram: Array, keep: int) -> int:
    """The highest bin such that it and all above hold at least `keep` values."""
    from_top = np.cumsum(histogram[::-1])
    return int(BINS - 1 - np.searchsorted(from_top, keep))


def _split(delta: Delta, edge: int) -> tuple[int, Array]:
    """How many entries lie above the bin, and the sizes of those inside it; zeros are left out, they need no place."""
    above, inside = 0, []
    for block in blocks(delta.shape):
        sizes = np.abs(delta.rows(block)).ravel()
        bins = _bins(sizes)
        above += int(np.count_nonzero(bins > edge))
        inside.append(sizes[(bins == edge) & (sizes > 0)])
    return above, np.concatenate(inside)


def _share(above: list[int], inside: list[Array], keep: int) -> list[int]:
    """Give each layer its part of the `keep` places."""
    pool = np.concatenate(inside)
    missing = keep - sum(above)
    if missing >= pool.size:
        return [count + values.size for count, values in zip(above, inside, strict=True)]
    threshold = np.partition(pool, pool.size - missing)[pool.size - missing]
    equal = missing - int(np.count_nonzero(pool > threshold))
    result = []
    for count, values in zip(above, inside, strict=True):
        here = min(equal, int(np.count_nonzero(values == threshold)))
        equal -= here
        result.append(count + int(np.count_nonzero(values > threshold)) + here)
    return result
