"""What one safetensors file holds, measured once: every tensor's hash, norm, extremes, counts and histogram.

One pass in chunks, so a file of any size fits in little memory. A tensor's key is a hash over type, shape and bytes
but not over its name or file, so the same tensor is recognised under another name, in another shard, in another repo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from adapters.formats.safetensors_header import TensorInfo
from adapters.formats.values import NUMPY, Array, TensorFile, decode

CHUNK = 1 << 18
BINS = 1024
"""Half octaves with a sign: the upper ten bits (sign, exponent, first bit of the fraction) of a float32."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TensorFacts:
    """One tensor of a file.

    `sha256` is that of its bytes, `key` that of type, shape and bytes. norm: root of the sum of squares of the finite
    values, in float64; `smallest` and `greatest` are None without a finite value. `histogram` has one (bin, count)
    for every bin in use, see `BINS`. Unreadable types (4 and 6 bits) have only their hash: `readable` is False.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    sha256: str
    key: str
    norm: float | None = None
    smallest: float | None = None
    greatest: float | None = None
    nan: int = 0
    infinite: int = 0
    zeros: int = 0
    histogram: tuple[tuple[int, int], ...] = ()
    readable: bool = True


@dataclass(frozen=True)
class Manifest:
    """A file's header bytes as they are (without the 8 bytes of length) and its tensors in file order."""

    header: bytes
    tensors: tuple[TensorFacts, ...]


def key_of(dtype: str, shape: tuple[int, ...], sha256: str) -> str:
    """The hash under which a tensor is recognised whatever its name."""
    sizes = ",".join(map(str, shape))
    return hashlib.sha256(f"{dtype}[{sizes}]{sha256}".encode()).hexdigest()


def manifest(path: Path, progress: Progress | None = None) -> Manifest:
    """Measure a safetensors file in one pass; `progress(bytes done, bytes in all)`. Raises FormatError."""
    with TensorFile(path) as file:
        total = sum(info.nbytes for info in file.header.tensors.values())
        done, found = 0, []
        for info in file.header.tensors.values():
            found.append(_measure(file, info))
            done += info.nbytes
            if progress:
                progress(done, total)
        with path.open("rb") as raw:
            raw.seek(8)
            header = raw.read(file.header.data_start - 8)
    return Manifest(header, tuple(found))


def _measure(file: TensorFile, info: TensorInfo) -> TensorFacts:
    digest = hashlib.sha256()
    readable = info.dtype in NUMPY
    sums = _Sums()
    for raw in file.raw_chunks(info.name, CHUNK):
        digest.update(raw)
        if readable:
            sums.add(decode(raw, info.dtype))
    sha256 = digest.hexdigest()
    key = key_of(info.dtype, info.shape, sha256)
    if not readable:
        return TensorFacts(info.name, info.dtype, info.shape, info.nbytes, sha256, key, readable=False)
    return TensorFacts(
        info.name, info.dtype, info.shape, info.nbytes, sha256, key,
        norm=sums.norm, smallest=sums.smallest, greatest=sums.greatest, nan=sums.nan, infinite=sums.infinite,
        zeros=sums.zeros,
        histogram=tuple((int(bin_), int(sums.counts[bin_])) for bin_ in np.flatnonzero(sums.counts)),
    )  # fmt: skip


class _Sums:
    """Running sums over the chunks of one tensor."""

    def __init__(self) -> None:
        self.squares = 0.0
        self.smallest: float | None = None
        self.greatest: float | None = None
        self.nan = self.infinite = self.zeros = 0
        self.counts = np.zeros(BINS, np.int64)

    @property
    def norm(self) -> float | None:
        """None where the squares are too large for float64."""
        return sqrt(self.squares) if np.isfinite(self.squares) else None

    def add(self, values: Array) -> None:
        """Take in one chunk as it was decoded."""
        if not values.size:
            return
        with np.errstate(over="ignore"):
            single = values.astype(np.float32, copy=False)
        counts = np.bincount(single.view(np.uint32) >> np.uint32(22), minlength=BINS)
        if counts[[0, BINS // 2]].any():  # the bins of zero also hold the smallest numbers
            self.zeros += int(values.size - np.count_nonzero(values))
        self.counts += counts
        if values.dtype.kind == "f" and not (np.isfinite(values.min()) and np.isfinite(values.max())):
            nan, finite = np.isnan(values), np.isfinite(values)
            missing = int(np.count_nonzero(nan))
            self.nan += missing
            self.infinite += int(values.size - np.count_nonzero(finite)) - missing
            values = values[finite]
            if not values.size:
                return
        low, high = float(values.min()), float(values.max())
        self.smallest = low if self.smallest is None else min(self.smallest, low)
        self.greatest = high if self.greatest is None else max(self.greatest, high)
        with np.errstate(over="ignore"):
            wide = values.astype(np.float64, copy=False)
            self.squares += float(np.einsum("i,i->", wide, wide))  # no BLAS: its threads cost more than they give
