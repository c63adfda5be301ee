"""Ways to predict the bits of a tensor from files that are stored anyway.

Each way is declared once, here: its fields, whether they can be true (`check`), and its prediction of a range.
Places are offsets in the input's whole file, so that nothing but the recipe is needed to read.

    new      nothing is known: zeros
    same     bits of an input (a parent's tensor; what changed is the residual)
    cast     values of an input in another type, rounded to this one's
    rows     rows of an input, run by run (a vocabulary that was trimmed, grown or reordered)
    mean     Σ wᵢ·xᵢ over inputs, in the order given
    lora     W + s·B·A (Hu et al., 2021, arXiv 2106.09685), the sum over the rank in order, element by element
    scale    W ⊙ l by rows or by columns, IA3's update (Liu et al., 2022, arXiv 2205.05638)
    sparse   an input's bits, except at listed positions
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from adapters.encoding.numbers import WIDTHS, Bits, Wide, narrow, widen
from adapters.encoding.sources import Sources
from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import BITS, TensorInfo

MAX_RANK = 1024
MAX_MEANS = 16
MAX_RUNS = 4096
MAX_FACTOR_BYTES = 256 << 20
MAX_POSITIONS = 1 << 24
MAX_ROW_BYTES = 16 << 20
ROUNDINGS = ("once", "base", "both")
"""`once`: the exact sum is rounded. `base`: the base is rounded to the type first. `both`: so is the update (peft)."""

Cache = dict[tuple[object, ...], Any]


def refuse(why: str) -> FormatError:
    return FormatError("recipe", f"This recipe cannot be true: {why}")


@dataclass(frozen=True)
class Place:
    """Values in an input: its number, the offset in its file, and their type."""

    number: int
    offset: int
    dtype: str

    def check(self, count: int, sizes: tuple[int, ...]) -> None:
        """Raises FormatError if `count` values are not there, or are not numbers to compute with."""
        if self.dtype not in WIDTHS:
            raise refuse(f"values of type {str(self.dtype)[:20]!r} are not computed with.")
        check_range(self.number, self.offset, count * WIDTHS[self.dtype], sizes)

    def read(self, sources: Sources, start: int, end: int) -> Wide:
        """Values `start` to `end` as float64."""
        width = WIDTHS[self.dtype]
        return widen(sources.input(self.number, self.offset + start * width, self.offset + end * width), self.dtype)


@dataclass(frozen=True)
class New:
    """Nothing is known of it."""

    name: ClassVar[str] = "new"

    def inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs used."""
        return ()

    def check(self, tensor: TensorInfo, sizes: tuple[int, ...]) -> None:
        """Always possible."""

    def predict(self, tensor: TensorInfo, start: int, end: int, sources: Sources, cache: Cache) -> Bits:
        """Zeros."""
        return np.zeros(end - start, np.uint8)


@dataclass(frozen=True)
class Same:
    """The bits of an input from `offset` on."""

    number: int
    offset: int
    name: ClassVar[str] = "same"

    def inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs used."""
        return (self.number,)

    def check(self, tensor: TensorInfo, sizes: tuple[int, ...]) -> None:
        """Raises FormatError if the input is too short."""
        check_range(self.number, self.offset, tensor.nbytes, sizes)

    def predict(self, tensor: TensorInfo, start: int, end: int, sources: Sources, cache: Cache) -> Bits:
        """A copy."""
        return np.frombuffer(sources.input(self.number, self.offset + start, self.offset + end), np.uint8)


@dataclass(frozen=True)
class Cast:
    """The values of an input, rounded to this tensor's type."""

    place: Place
    name: ClassVar[str] = "cast"

    def inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs used."""
        return (self.place.number,)

    def check(self, tensor: TensorInfo, sizes: tuple[int, ...]) -> None:
        """Raises FormatError."""
        computable(tensor)
        self.place.check(tensor.count, sizes)

    def predict(self, tensor: TensorInfo, start: int, end: int, sources: Sources, cache: Cache) -> Bits:
        """One rounding."""
        first, last = elements(tensor, start, end)
        return narrow(self.place.read(sources, first, last), tensor.dtype)


@dataclass(frozen=True)
class Rows:
    """Rows of an input in runs of (how many, the first one's number in the input, or -1 for rows nobody knows)."""

    number: int
    offset: int
    runs: tuple[tuple[int, int], ...]
    name: ClassVar[str] = "rows"

    def inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs used."""
        return (self.number,)

    def check(self, tensor: TensorInfo, sizes: tuple[int, ...]) -> None:
        """Raises FormatError."""
        width = row_bytes(tensor)
        if len(self.runs) > MAX_RUNS or any(count < 1 or first < -1 for count, first in self.runs):
            raise refuse("its runs of rows are too many, or none.")
        if sum(count for count, _ in self.runs) != tensor.shape[0]:
            raise refuse("its runs of rows are not the tensor's rows.")
        for count, first in self.runs:
            if first >= 0:
                check_range(self.number, self.offset + first * width, count * width, sizes)

    def predict(self, tensor: TensorInfo, start: int, end: int, sources: Sources, cache: Cache) -> Bits:
        """Each run's part of the range, zeros where no row is known."""
        width, at, parts = row_bytes(tensor), 0, []
        for count, first in self.runs:
            low, high = max(start, at), min(end, at + count * width)
            if low < high:
                origin = self.offset + first * width + low - at
                known = first >= 0
                parts.append(sources.input(self.number, origin, origin + high - low) if known else bytes(high - low))
            at += count * width
            if at >= end:
                break
        return np.frombuffer(b"".join(parts), np.uint8)


@dataclass(frozen=True)
class Mean:
    """A weighted sum of inputs: float64, in the order given, one rounding."""

    parts: tuple[tuple[Place, float], ...]
    name: ClassVar[str] = "mean"

    def inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs used."""
        return tuple(place.number for place, _ in self.parts)

    def check(self, tensor: TensorInfo, sizes: tuple[int, ...]) -> None:
        """Raises FormatError."""
        computable(tensor)
        if not 1 <= len(self.parts) <= MAX_MEANS:
            raise refuse(f"a mean is of 1 to {MAX_MEANS} tensors.")
        for place, weight in self.parts:
            finite(weight)
            place.check(tensor.count, sizes)

    def predict(self, tensor: TensorInfo, start: int, end: int, sources: Sources, cache: Cache) -> Bits:
        """Σ wᵢ·xᵢ."""
        first, last = elements(tensor, start, end)
        total = np.zeros(last - first)
        with np.errstate(invalid="ignore", over="ignore"):
            for place, weight in self.parts:
                total += place.read(sources, first, last) * weight
        return narrow(total, tensor.dtype)


@dataclass(frozen=True)
class Lora:
    """`base` + scaling · left · right; `turned` if the weight is stored as the transpose of that product."""

    base: Place
    left: Place
    right: Place
    rank: int
    scaling: float
    turned: bool
    rounding: str
    name: ClassVar[str] = "lora"

    def inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs used."""
        return (self.base.number, self.left.number, self.right.number)

    def check(self, tensor: TensorInfo, sizes: tuple[int, ...]) -> None:
        """Raises FormatError."""
        computable(tensor)
        if len(tensor.shape) != 2 or not 1 <= self.rank <= MAX_RANK or self.rounding not in ROUNDINGS:
            raise refuse("the shape, rank or rounding of a low-rank update is impossible.")
        finite(self.scaling)
        row_bytes(tensor)
        rows, columns = tensor.shape[::-1] if self.turned else tensor.shape
        if max(rows, columns) * self.rank * 8 > MAX_FACTOR_BYTES:
            raise refuse("its factors are too large.")
        self.base.check(tensor.count, sizes)
        self.left.check(rows * self.rank, sizes)
        self.right.check(self.rank * columns, sizes)

    def predict(self, tensor: TensorInfo, start: int, end: int, sources: Sources, cache: Cache) -> Bits:
        """Rows that the range touches, summed over the rank one by one."""
        first, last = elements(tensor, start, end)
        columns = tensor.shape[1]
        low, high = first // columns, -(-last // columns)
        left, right = self._factors(tensor, sources, cache)
        update = np.zeros((high - low, columns))
        with np.errstate(invalid="ignore", over="ignore"):
            for step in range(self.rank):
                update += left[low:high, step, None] * right[step]
            update *= self.scaling
            change = update.ravel()[first - low * columns : last - low * columns]
            base = self.base.read(sources, first, last)
            if self.rounding != "once":
                base = widen(narrow(base, tensor.dtype), tensor.dtype)
            if self.rounding == "both":
                change = widen(narrow(np.ascontiguousarray(change), tensor.dtype), tensor.dtype)
            return narrow(base + change, tensor.dtype)

    def _factors(self, tensor: TensorInfo, sources: Sources, cache: Cache) -> tuple[Wide, Wide]:
        key = ("lora", self.left, self.right, self.turned)
        if key not in cache:
            rows, columns = tensor.shape[::-1] if self.turned else tensor.shape
            left = self.left.read(sources, 0, rows * self.rank).reshape(rows, self.rank)
            right = self.right.read(sources, 0, self.rank * columns).reshape(self.rank, columns)
            cache.clear()  # one module's factors at a time
            cache[key] = (np.ascontiguousarray(right.T), np.ascontiguousarray(left.T)) if self.turned else (left, right)
        found: tuple[Wide, Wide] = cache[key]
        return found


@dataclass(frozen=True)
class Scale:
    """`base` times a vector: one factor for each row (axis 0) or for each column (axis 1)."""

    base: Place
    vector: Place
    axis: int
    name: ClassVar[str] = "scale"

    def inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs used."""
        return (self.base.number, self.vector.number)

    def check(self, tensor: TensorInfo, sizes: tuple[int, ...]) -> None:
        """Raises FormatError."""
        computable(tensor)
        if self.axis not in (0, 1) or len(tensor.shape) not in (1, 2) or self.axis >= len(tensor.shape):
            raise refuse("a vector multiplies the rows or the columns of a matrix.")
        self.base.check(tensor.count, sizes)
        self.vector.check(tensor.shape[self.axis], sizes)

    def predict(self, tensor: TensorInfo, start: int, end: int, sources: Sources, cache: Cache) -> Bits:
        """Element by element."""
        first, last = elements(tensor, start, end)
        columns = prod(tensor.shape[1:])
        numbers = np.arange(first, last)
        which = numbers // columns if self.axis == 0 else numbers % columns
        low, high = int(which.min()), int(which.max()) + 1
        with np.errstate(invalid="ignore", over="ignore"):
            factors = self.vector.read(sources, low, high)[which - low]
            return narrow(self.base.read(sources, first, last) * factors, tensor.dtype)


@dataclass(frozen=True)
class Sparse:
    """An input's bits, and `count` values of the tensor's own type at ascending positions (int64) of another."""

    base: Same
    number: int
    positions: int
    values: int
    count: int
    name: ClassVar[str] = "sparse"

    def inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs used."""
        return (self.base.number, self.number)

    def check(self, tensor: TensorInfo, sizes: tuple[int, ...]) -> None:
        """Raises FormatError."""
        if not 0 <= self.count <= min(MAX_POSITIONS, tensor.count) or BITS[tensor.dtype] < 8:
            raise refuse("a sparse update has too many positions.")
        self.base.check(tensor, sizes)
        check_range(self.number, self.positions, 8 * self.count, sizes)
        check_range(self.number, self.values, self.count * BITS[tensor.dtype] // 8, sizes)

    def predict(self, tensor: TensorInfo, start: int, end: int, sources: Sources, cache: Cache) -> Bits:
        """The input with the listed elements of the range replaced."""
        width = BITS[tensor.dtype] // 8
        first, last = elements(tensor, start, end)
        key = ("sparse", self)
        if key not in cache:
            raw = sources.input(self.number, self.positions, self.positions + 8 * self.count)
            cache.clear()
            cache[key] = np.frombuffer(raw, "<i8")
        at = cache[key]
        low, high = (int(place) for place in np.searchsorted(at, (first, last)))
        bits = self.base.predict(tensor, start, end, sources, cache).copy().reshape(-1, width)
        values = sources.input(self.number, self.values + low * width, self.values + high * width)
        bits[at[low:high] - first] = np.frombuffer(values, np.uint8).reshape(-1, width)
        return bits.ravel()


Way = New | Same | Cast | Rows | Mean | Lora | Scale | Sparse


def check_range(number: int, offset: int, length: int, sizes: tuple[int, ...]) -> None:
    """Raises FormatError if an input has not that many bytes there."""
    if not 0 <= number < len(sizes) or offset < 0 or length < 0 or offset + length > sizes[number]:
        raise refuse("it reads beyond the end of an input.")


def computable(tensor: TensorInfo) -> None:
    """Raises FormatError for types that predictions do not compute with."""
    if tensor.dtype not in WIDTHS:
        raise refuse(f"values of type {tensor.dtype} are not computed with.")


def finite(value: float) -> None:
    """Raises FormatError for NaN and infinities."""
    if not np.isfinite(value):
        raise refuse("a factor is not a number.")


def row_bytes(tensor: TensorInfo) -> int:
    """Bytes of one row (of the first axis). Raises FormatError if there are none, or one is too large to hold."""
    if not tensor.shape or not tensor.count or tensor.nbytes % tensor.shape[0]:
        raise refuse("the tensor has no rows.")
    width = tensor.nbytes // tensor.shape[0]
    if width > MAX_ROW_BYTES:
        raise refuse("its rows are too large.")
    return width


def elements(tensor: TensorInfo, start: int, end: int) -> tuple[int, int]:
    """A range of bytes as a range of elements; blocks begin and end between elements."""
    width = BITS[tensor.dtype] // 8
    return start // width, -(-end // width)
