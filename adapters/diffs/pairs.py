"""Two tensors of one shape, value by value: norms, cosine, share changed, spectrum, and what kind of change it is.

Sums run in float64 over blocks of rows, so tensors of any size fit in little memory. Values that are not finite never
enter a sum; they are counted. For nearly equal tensors 1 - cosine is computed without cancellation, with d = b - a:
1 - cos = (|d|^2 - (|a| - |b|)^2) / (2 |a| |b|).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt
from typing import Any

import numpy as np

from adapters.diffs import spectrum
from adapters.diffs.guessing import ROUNDING, Seen, guess
from adapters.formats.values import Array, round_to

CASTABLE = frozenset({"F64", "F32", "F16", "BF16"})
RANKED_ELEMENTS = 1 << 28
"""Larger tensors are compared without singular values."""
Rows = Callable[[], Iterator[Array]]


def measure(old: Rows, new: Rows, shape: tuple[int, int], old_dtype: str, new_dtype: str) -> dict[str, Any]:
    """The numbers of TensorChange for one pair.

    `old` and `new` give the same blocks of rows (k × n, as decoded) as often as asked; shape is (m, n).
    """
    sums = _Sums(shape[1])
    may_be_cast = old_dtype != new_dtype and {old_dtype, new_dtype} <= CASTABLE
    for a, b in zip(old(), new(), strict=True):
        sums.add(a, b)
        if may_be_cast and sums.rounded:
            sums.rounded = _is_cast(a, b, old_dtype, new_dtype)
    cast = (may_be_cast and sums.rounded) or (old_dtype != new_dtype and sums.changed == 0)
    old_norm, new_norm, change_norm = sqrt(sums.old), sqrt(sums.new), sqrt(sums.difference)
    numbers: dict[str, Any] = {
        "status": "cast" if cast else "changed",
        "relative_norm": ratio(change_norm, old_norm),
        "max_abs": number(sums.largest),
        "cosine_distance": _cosine_distance(sums),
        "share_changed": sums.changed / (shape[0] * shape[1]) if shape[0] * shape[1] else 0.0,
        "rows_changed": sums.rows_changed,
        "change_norm": number(change_norm),
        "old_norm": number(old_norm),
        "new_norm": number(new_norm),
        "not_finite": sums.not_finite,
    }
    values = None
    if _can_be_ranked(sums, shape, cast):
        values = spectrum.of_blocks(lambda: _differences(old, new), shape, sums.difference)
        numbers["spectrum"] = values.facts()
    seen = Seen(shape, new_dtype, numbers, values, sums.scales(), sums.scales_of_rows())
    update, evidence, exact = guess(seen)
    return numbers | {"update": update, "evidence": evidence, "exact": exact}


def mixture(old: Rows, new: Rows, other: Rows, numbers: dict[str, Any], dtype: str) -> str | None:
    """Whether new = (1 − t)·old + t·other but for rounding, as words; t = ⟨new − old, other − old⟩ / |other − old|²."""
    cross = length = 0.0
    for a, b, c in zip(old(), new(), other(), strict=True):
        wide = a.astype(np.float64)
        toward, moved = c.astype(np.float64) - wide, b.astype(np.float64) - wide
        if not (np.isfinite(toward).all() and np.isfinite(moved).all()):
            return None
        cross += _dot(toward, moved)
        length += _dot(toward, toward)
    if not length:
        return None
    share = cross / length
    rest = max(numbers["change_norm"] ** 2 - share * cross, 0.0)
    allowed = max(ROUNDING.get(dtype, 0.0), 1e-7) * numbers["new_norm"]
    if sqrt(rest) > 2 * allowed or not 0.01 < share < 0.99:
        return None
    return f"A mean of its two parents: {1 - share:.0%} of this one and {share:.0%} of the other."


def _can_be_ranked(sums: _Sums, shape: tuple[int, int], cast: bool) -> bool:
    finite = 0 < sums.difference < np.inf
    return min(shape) > 1 and finite and not cast and shape[0] * shape[1] <= RANKED_ELEMENTS


def _differences(old: Rows, new: Rows) -> Iterator[Array]:
    for a, b in zip(old(), new(), strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            difference = b.astype(np.float64) - a.astype(np.float64)
        difference[~np.isfinite(difference)] = 0.0
        yield difference


class _Sums:
    """Running float64 sums over one pair of tensors a (old) and b (new)."""

    def __init__(self, columns: int) -> None:
        self.old = self.new = self.product = self.gap = self.difference = self.largest = 0.0
        self.changed = self.rows_changed = self.not_finite = 0
        self.rounded = True
        self._columns: Array | None = np.zeros((3, columns)) if columns > 1 else None
        self._rows: list[Array] | None = [] if columns > 1 else None

    def add(self, a: Array, b: Array) -> None:
        """Take in one block of rows as they were decoded."""
        same = a == b
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        if not _all_finite(wide_a, wide_b):
            same |= np.isnan(wide_a) & np.isnan(wide_b)
            broken = ~(np.isfinite(wide_a) & np.isfinite(wide_b))
            self.not_finite += int(np.count_nonzero(broken))
            wide_a[broken] = wide_b[broken] = 0.0
        touched = ~same.all(axis=1)
        self.rows_changed += int(np.count_nonzero(touched))
        self.changed += int(same.size - np.count_nonzero(same))
        self._add_finite(wide_a, wide_b, bool(touched.any()))

    def _add_finite(self, a: Array, b: Array, differs: bool) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            self.old += _dot(a, a)
            if not differs:
                self.new += _dot(b, b)
                self.product += _dot(a, b)
                self._add_axes(a, b)
                return
            d = b - a
            self.new += _dot(b, b)
            self.product += _dot(a, b)
            self.difference += _dot(d, d)
            self.gap += _dot(d, a + b)
            self._add_axes(a, b)
        self.largest = max(self.largest, float(d.max()), -float(d.min()))

    def _add_axes(self, a: Array, b: Array) -> None:
        """⟨a,a⟩, ⟨a,b⟩ and ⟨b,b⟩ of each column and each row: enough to find one factor for each."""
        if self._columns is None or self._rows is None:
            return
        for place, (one, other) in enumerate(((a, a), (a, b), (b, b))):
            self._columns[place] += np.einsum("ij,ij->j", one, other)
        self._rows.append(np.stack([np.einsum("ij,ij->i", one, other) for one, other in ((a, a), (a, b), (b, b))]))

    def scales(self) -> Array | None:
        """Products by column (3 × n)."""
        return self._columns

    def scales_of_rows(self) -> Array | None:
        """Products by row (3 × m)."""
        return np.concatenate(self._rows, axis=1) if self._rows else None


def _dot(a: Array, b: Array) -> float:
    """Σ aᵢⱼbᵢⱼ, without BLAS: on blocks of this size its threads cost more than they give."""
    return float(np.einsum("ij,ij->", a, b))


def _all_finite(a: Array, b: Array) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(_dot(a, a)) and np.isfinite(_dot(b, b)))


def _is_cast(a: Array, b: Array, old_dtype: str, new_dtype: str) -> bool:
    """Whether one side is the other after rounding, in either direction."""
    down = np.array_equal(round_to(a, new_dtype), b, equal_nan=True)
    return down or np.array_equal(a, round_to(b, old_dtype), equal_nan=True)


def ratio(change: float, old: float) -> float | None:
    """change / old; 0 for no change even from zero, None where there is nothing to divide by."""
    if change == 0:
        return 0.0
    return number(change / old) if old > 0 else None


def _cosine_distance(sums: _Sums) -> float | None:
    old, new = sqrt(sums.old), sqrt(sums.new)
    if old == 0 and new == 0:
        return 0.0
    if old == 0 or new == 0:
        return 1.0
    if sums.difference < 0.1 * sums.old:
        lengths = sums.gap / (old + new)
        distance = number((sums.difference - lengths**2) / (2 * old * new))
    else:
        distance = number(1 - sums.product / old / new)
    return None if distance is None else min(2.0, max(0.0, distance))


def number(value: float) -> float | None:
    """The value, or None if it is not finite."""
    return float(value) if np.isfinite(value) else None
