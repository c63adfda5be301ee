"""Which entries of a delta are the largest: exactly k of them, equal ones by lowest position.

Selection, not sorting: a threshold is found inside a bracket that a sample gives, later passes only compare with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from merges.methods.declaration import Layers
from merges.methods.deltas import Array, Delta, blocks

BINS = 1 << 15
SAMPLED_ROWS, SAMPLED_VALUES = 64, 1 << 16


@dataclass(frozen=True)
class Cut:
    """Keep |x| > threshold, and |x| = threshold up to flat position `last`."""

    threshold: float
    last: int

    def trimmed(self, values: Array, start: int) -> Array:
        """`values` with what is cut set to zero; `start` is the flat position of the first one."""
        size = np.abs(values)
        if self.last >= start + values.size - 1:
            return np.where(size >= self.threshold, values, np.float32(0.0))
        kept = size > self.threshold
        if self.last >= start:
            equal = np.flatnonzero(size == self.threshold)
            kept.flat[equal[equal <= self.last - start]] = True
        return np.where(kept, values, np.float32(0.0))


def kept_count(size: int, density: float) -> int:
    """How many of `size` entries a density keeps: max(1, ⌊density·size⌋), at most all."""
    return min(size, max(1, int(density * size)))


def cut(delta: Delta, keep: int) -> Cut:
    """The cut that keeps exactly the `keep` largest |entries|, in two or three passes and little memory.

    A sample brackets the threshold; one pass counts what is above the bracket and collects what is inside, where the
    threshold is then selected exactly. Should the bracket miss, it is widened. A last pass finds which of equal
    entries stay, if not all of them do.
    """
    count = delta.shape[0] * delta.shape[1]
    if keep >= count:
        return Cut(-1.0, -1)
    if keep <= 0:
        return Cut(float("inf"), -1)
    low, high = _bracket(delta, 1.0 - keep / count)
    above, inside = _between(delta, low, high)
    if not above < keep <= above + inside.size:
        above, inside = _between(delta, -1.0, float("inf"))
    missing = keep - above
    threshold = np.partition(inside, inside.size - missing)[inside.size - missing]
    equal = missing - int(np.count_nonzero(inside > threshold))
    if equal == int(np.count_nonzero(inside == threshold)):
        return Cut(float(threshold), count)
    return Cut(float(threshold), _position(delta, threshold, equal))


def _bracket(delta: Delta, quantile: float) -> tuple[float, float]:
    """Sizes that the entry at this quantile almost surely lies between, from evenly spaced rows."""
    rows, columns = delta.shape
    wanted = min(rows, max(SAMPLED_ROWS, SAMPLED_VALUES // columns))
    sizes = np.abs(delta.rows(np.unique(np.linspace(0, rows - 1, wanted).astype(np.int64)))).ravel()
    margin = 0.02 + 2.0 / np.sqrt(sizes.size)
    if sizes.size < SAMPLED_VALUES // 4 or rows <= wanted:
        margin = max(margin, 0.1)
    low, high = np.quantile(sizes, [max(quantile - margin, 0.0), min(quantile + margin, 1.0)])
    return (-1.0 if quantile <= margin else float(low)), (float("inf") if quantile + margin >= 1.0 else float(high))


def _between(delta: Delta, low: float, high: float) -> tuple[int, Array]:
    """How many sizes lie above `high`, and those from `low` (not included) to `high`."""
    above, inside = 0, []
    for block in blocks(delta.shape):
        sizes = np.abs(delta.rows(block)).ravel()
        sizes = sizes[sizes > low] if low >= 0 else sizes
        larger = sizes > high
        above += int(np.count_nonzero(larger))
        inside.append(sizes[~larger])
    return above, np.concatenate(inside)


def _position(delta: Delta, size: float, number: int) -> int:
    """The flat position of the `number`-th entry of exactly this size."""
    for block in blocks(delta.shape):
        equal = np.flatnonzero(np.abs(delta.rows(block)) == size)
        if number <= equal.size:
            return int(equal[number - 1] + block.start * delta.shape[1])
        number -= equal.size
    raise AssertionError("unreachable")


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
