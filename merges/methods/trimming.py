"""Which entries of a delta are the largest: exactly k of them, equal ones by lowest position.

Selection, not sorting: a threshold is found inside a bracket that a sample gives, later passes only compare with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from merges.methods.declaration import Layers
from merges.methods.deltas import Array, Delta, blocks
from merges.methods.scratch import borrowed, mask_in

BINS = 1 << 15
RUNS, SAMPLED_VALUES = 16, 1 << 15


@dataclass(frozen=True)
class Cut:
    """Keep |x| > threshold, and |x| = threshold up to flat position `last`."""

    threshold: float
    last: int

    def trim(self, values: Array, start: int) -> None:
        """Set what is cut to zero, in place; `start` is the flat position of the first value. NaN stays NaN."""
        with borrowed(values.shape, 2) as (sizes, flags):
            np.abs(values, out=sizes)
            kept = mask_in(flags)
            if self.last >= start + values.size - 1:
                np.greater_equal(sizes, np.float32(self.threshold), out=kept)
            else:
                np.greater(sizes, np.float32(self.threshold), out=kept)
                if self.last >= start:
                    equal = np.flatnonzero(sizes == np.float32(self.threshold))
                    kept.reshape(-1)[equal[equal <= self.last - start]] = True
            values *= kept

    def trimmed(self, values: Array, start: int) -> Array:
        """A copy of `values` with what is cut set to zero."""
        result = np.array(values, np.float32)
        self.trim(result, start)
        return result


def kept_count(size: int, density: float) -> int:
    """How many of `size` entries a density keeps: max(1, ⌊density·size⌋), at most all."""
    return min(size, max(1, int(density * size)))


def cut(delta: Delta, keep: int) -> Cut:
    """The cut that keeps exactly the `keep` largest |entries|, in one pass and little memory unless entries tie.

    A sample brackets the threshold; one pass counts what is above the bracket and collects what is inside, where the
    threshold is then selected exactly. Should the bracket miss, a histogram of all sizes gives one that cannot. A last
    pass finds which of equal entries stay, if not all of them do.
    """
    count = delta.shape[0] * delta.shape[1]
    if keep >= count:
        return Cut(-1.0, count)
    if keep <= 0:
        return Cut(float("inf"), -1)
    above, inside = _between(delta, *_bracket(delta, keep / count))
    if not above < keep <= above + inside.size:
        above, inside = _between(delta, *_sure_bracket(delta, keep))
    missing = keep - above
    if missing > inside.size:
        return Cut(-1.0, count)  # there are NaNs, which are larger than nothing: kept, so that they are found later
    threshold = np.partition(inside, inside.size - missing)[inside.size - missing]
    equal = missing - int(np.count_nonzero(inside > threshold))
    if equal == int(np.count_nonzero(inside == threshold)):
        return Cut(float(threshold), count)
    return Cut(float(threshold), _position(delta, threshold, equal))


def _bracket(delta: Delta, share: float) -> tuple[float, float]:
    """Sizes between which lies the entry that a share of all are larger than: (low, high), almost surely.

    From runs of neighbouring rows. Rows differ among each other, so the margin is wider than for independent entries.
    """
    rows = sampled_rows(delta.shape, SAMPLED_VALUES)
    sizes = np.sort(np.abs(delta.rows(rows)), axis=None)
    spread = 8.0 * (share * (1.0 - share) / sizes.size) ** 0.5 + 0.002
    margin = 0.0 if rows.size == delta.shape[0] else spread
    low, high = sizes.size * (1.0 - share - margin) - 2, sizes.size * (1.0 - share + margin) + 2
    return (-1.0 if low < 0 else float(sizes[int(low)])), (
        float("inf") if high >= sizes.size else float(sizes[int(high)])
    )


def sampled_rows(shape: tuple[int, int], values: int) -> Array:
    """About so many entries as sixteen evenly spaced runs of neighbouring rows, which a file gives up quickly."""
    rows, columns = shape
    length = max(1, values // (RUNS * max(1, columns)))
    if rows <= RUNS * length:
        return np.arange(rows)
    starts = np.linspace(0, rows - length, RUNS).astype(np.int64)
    return np.unique((starts[:, None] + np.arange(length)).ravel())


def _sure_bracket(delta: Delta, keep: int) -> tuple[float, float]:
    """Bounds of the bin of sizes, among 32,768 by their upper 16 bits, that holds the `keep`-th largest."""
    histogram = np.zeros(BINS, np.int64)
    for block in blocks(delta.shape):
        histogram += np.bincount(_bins(delta.rows(block)), minlength=BINS)
    edge = _edge(histogram, keep)
    ends = np.array([(edge << 16) - 1 if edge else 0, (edge << 16) + 0xFFFF], np.uint32).view(np.float32)
    return (float(ends[0]) if edge else -1.0), float(ends[1])


def _between(delta: Delta, low: float, high: float) -> tuple[int, Array]:
    """How many sizes lie above `high`, and those from `low` (not included) to `high`."""
    above, inside = 0, []
    step = next(blocks(delta.shape))
    with borrowed((step.stop - step.start, delta.shape[1]), 3) as (values, one, other):
        for block in blocks(delta.shape):
            height = block.stop - block.start
            sizes, larger, within = values[:height], mask_in(one[:height]), mask_in(other[:height])
            delta.rows(block, sizes)
            np.abs(sizes, out=sizes)
            np.greater(sizes, np.float32(high), out=larger)
            above += int(np.count_nonzero(larger))
            # Picking values out is slow where many are picked: so only those of the bracket, never all above it.
            np.greater(sizes, np.float32(low), out=within)
            inside.append(sizes[np.logical_xor(within, larger, out=within)])
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
    return above, np.concatenate(inside) if inside else np.zeros(0, np.float32)


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
