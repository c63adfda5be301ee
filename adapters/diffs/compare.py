"""Tensor by tensor: what was added, removed, reshaped, cast, changed or left as it was, and by how much.

Sums run in float64 over chunks, so files of any size fit in little memory. Values that are not finite never enter a
sum; they are counted. For nearly equal tensors 1 - cosine is computed without cancellation, with d = b - a:
1 - cos = (|d|^2 - (|a| - |b|)^2) / (2 |a| |b|).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Literal

import numpy as np

from adapters.formats.values import NUMPY, Array, TensorFile, round_to

Status = Literal["added", "removed", "reshaped", "cast", "changed", "unchanged"]
_CASTABLE = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class TensorChange:
    """One tensor of either file; for `reshaped` and `cast` the old shape and type are kept beside the new.

    relative_norm: |new - old| / |old| (None when old is all zero, or the numbers do not exist);
    max_abs: largest |new - old|; cosine_distance: 1 - cos(old, new) in 0..2; share_changed: part of the elements that
    differ; change_norm and old_norm: the two norms themselves; not_finite: elements NaN or infinite on either side.
    """

    name: str
    status: Status
    shape: tuple[int, ...]
    dtype: str
    relative_norm: float | None = None
    max_abs: float | None = None
    cosine_distance: float | None = None
    share_changed: float | None = None
    old_shape: tuple[int, ...] | None = None
    old_dtype: str | None = None
    change_norm: float | None = None
    old_norm: float | None = None
    not_finite: int = 0

    @property
    def count(self) -> int:
        """Number of elements of the new tensor (of the old one when it was removed)."""
        return int(np.prod(self.shape, dtype=np.int64))


def compare(left: Path, right: Path) -> list[TensorChange]:
    """All tensors of two safetensors files, `left` the older: first those of the right file in its order, then removed.

    A pair with equal bytes is `unchanged` and its values are never decoded. `cast` means another type whose values
    are the old ones rounded. Raises FormatError if a file breaks a rule of its format.
    """
    with TensorFile(left) as old, TensorFile(right) as new:
        changes = [_compare_one(old, new, name) for name in new.header.tensors]
        changes += [
            TensorChange(name, "removed", info.shape, info.dtype)
            for name, info in old.header.tensors.items()
            if name not in new.header.tensors
        ]
    return changes


def _compare_one(old: TensorFile, new: TensorFile, name: str) -> TensorChange:
    after = new.header.tensors[name]
    before = old.header.tensors.get(name)
    if before is None:
        return TensorChange(name, "added", after.shape, after.dtype)
    if before.shape != after.shape:
        return TensorChange(name, "reshaped", after.shape, after.dtype, old_shape=before.shape, old_dtype=before.dtype)
    if before.dtype == after.dtype and _same_bytes(old, new, name):
        return TensorChange(name, "unchanged", after.shape, after.dtype, 0.0, 0.0, 0.0, 0.0)
    if before.dtype not in NUMPY or after.dtype not in NUMPY:
        return TensorChange(name, "changed", after.shape, after.dtype, old_dtype=before.dtype)
    return _measure(old, new, name)


def _same_bytes(old: TensorFile, new: TensorFile, name: str) -> bool:
    return all(a == b for a, b in zip(old.raw_chunks(name), new.raw_chunks(name), strict=True))


@dataclass
class _Sums:
    """Running float64 sums over one pair of tensors a (old) and b (new)."""

    old: float = 0.0
    new: float = 0.0
    product: float = 0.0
    gap: float = 0.0
    difference: float = 0.0
    largest: float = 0.0
    changed: int = 0
    not_finite: int = 0
    rounded: bool = True

    def add(self, a: Array, b: Array) -> None:
        """Take in one chunk of values as they were decoded."""
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        same = a == b
        with np.errstate(over="ignore", invalid="ignore"):
            all_finite = np.isfinite(np.dot(wide_a, wide_a)) and np.isfinite(np.dot(wide_b, wide_b))
        if not all_finite:
            same |= np.isnan(wide_a) & np.isnan(wide_b)
            finite = np.isfinite(wide_a) & np.isfinite(wide_b)
            self.not_finite += int(finite.size - np.count_nonzero(finite))
            wide_a, wide_b = wide_a[finite], wide_b[finite]
        self.changed += int(same.size - np.count_nonzero(same))
        self._add_finite(wide_a, wide_b)

    def _add_finite(self, a: Array, b: Array) -> None:
        if not a.size:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            difference = b - a
            self.old += float(np.dot(a, a))
            self.new += float(np.dot(b, b))
            self.product += float(np.dot(a, b))
            self.difference += float(np.dot(difference, difference))
            self.gap += float(np.dot(difference, a + b))
        self.largest = max(self.largest, float(difference.max()), -float(difference.min()))


def _measure(old: TensorFile, new: TensorFile, name: str) -> TensorChange:
    before, after = old.header.tensors[name], new.header.tensors[name]
    sums = _Sums()
    may_be_cast = before.dtype != after.dtype and {before.dtype, after.dtype} <= _CASTABLE
    for a, b in _pairs(old, new, name):
        sums.add(a, b)
        if may_be_cast and sums.rounded:
            sums.rounded = _is_cast(a, b, before.dtype, after.dtype)
    exact = before.dtype != after.dtype and sums.changed == 0
    status: Status = "cast" if (may_be_cast and sums.rounded) or exact else "changed"
    old_norm, change_norm = sqrt(sums.old), sqrt(sums.difference)
    return TensorChange(
        name,
        status,
        after.shape,
        after.dtype,
        relative_norm=_ratio(change_norm, old_norm),
        max_abs=_number(sums.largest),
        cosine_distance=_cosine_distance(sums),
        share_changed=sums.changed / after.count if after.count else 0.0,
        old_dtype=before.dtype,
        change_norm=_number(change_norm),
        old_norm=_number(old_norm),
        not_finite=sums.not_finite,
    )


def _pairs(old: TensorFile, new: TensorFile, name: str) -> Iterator[tuple[Array, Array]]:
    return zip(old.chunks(name), new.chunks(name), strict=True)


def _is_cast(a: Array, b: Array, old_dtype: str, new_dtype: str) -> bool:
    """Whether one side is the other after rounding, in either direction."""
    down = np.array_equal(round_to(a, new_dtype), b, equal_nan=True)
    return down or np.array_equal(a, round_to(b, old_dtype), equal_nan=True)


def _ratio(change: float, old: float) -> float | None:
    if change == 0:
        return 0.0
    return _number(change / old) if old > 0 else None


def _cosine_distance(sums: _Sums) -> float | None:
    old, new = sqrt(sums.old), sqrt(sums.new)
    if old == 0 and new == 0:
        return 0.0
    if old == 0 or new == 0:
        return 1.0
    if sums.difference < 0.1 * sums.old:
        lengths = sums.gap / (old + new)
        distance = _number((sums.difference - lengths**2) / (2 * old * new))
    else:
        distance = _number(1 - sums.product / old / new)
    return None if distance is None else min(2.0, max(0.0, distance))


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
