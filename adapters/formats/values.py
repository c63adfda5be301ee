"""Tensor values out of a safetensors file, by positional reads and numpy only.

bfloat16 and float8 have no numpy type: bfloat16 is widened by a bit shift, float8 by a table of its 256 values,
both to float32 without loss.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import BITS, Header, header_size, parse_header

Array = npt.NDArray[Any]

NUMPY: dict[str, str] = {
    "BOOL": "|u1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    "BF16": "<u2", "F8_E4M3": "|u1", "F8_E5M2": "|u1",
}  # fmt: skip
FLOATING = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
CHUNK_ELEMENTS = 1 << 18


def decode(raw: bytes, dtype: str) -> Array:
    """Bytes to a flat array: floats as float16/32/64 (bfloat16 and float8 as float32), integers as they are.

    Raises FormatError `values_unreadable` for types without a known value table.
    """
    if dtype not in NUMPY:
        raise FormatError("values_unreadable", f"Values of type {dtype} cannot be read here. Save the weights as F32.")
    stored = np.frombuffer(raw, dtype=NUMPY[dtype])
    if dtype == "BF16":
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype == "F8_E4M3":
        return np.take(_E4M3, stored)
    if dtype == "F8_E5M2":
        return np.take(_E5M2, stored)
    return stored != 0 if dtype == "BOOL" else stored


def round_to(values: Array, dtype: str) -> Array:
    """Values as they would be after a cast to `dtype` (ties to even), as decode would return them.

    F64, F32, F16 and BF16 only; other types raise FormatError `values_unreadable`.
    """
    if dtype in ("F64", "F32", "F16"):
        with np.errstate(over="ignore"):
            return values.astype(NUMPY[dtype])
    if dtype != "BF16":
        raise FormatError("values_unreadable", f"A cast to {dtype} cannot be repeated here.")
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    bits = single.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(single), single, rounded.view(np.float32))


class Bytes(Protocol):
    """A file wherever it is, open. Several threads may read at once."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes. Raises FormatError for a file that ends before."""

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill the target with what lies at `offset`. Raises FormatError for a file that ends before."""

    def laid_out(self, spans: Mapping[str, tuple[int, int]]) -> None:
        """Learn where each tensor lies, (begin, end): most are read from begin to end, one after the other."""

    def close(self) -> None:
        """Let go of it."""


class LocalBytes:
    """A file on this machine, by positional reads."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `Bytes`."""
        whole = os.pread(self._descriptor, length, offset)
        if len(whole) < length:
            rest = bytearray(length - len(whole))
            self.read_into(offset + len(whole), memoryview(rest))
            whole += rest
        return whole

    def read_into(self, offset: int, target: memoryview) -> None:
        """See `Bytes`."""
        while target:
            done = os.preadv(self._descriptor, [target], offset)
            if not done:
                raise FormatError("truncated", "The file became shorter while it was read. Try again.")
            target, offset = target[done:], offset + done

    def laid_out(self, spans: Mapping[str, tuple[int, int]]) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """See `Bytes`."""
        os.close(self._descriptor)


class TensorFile:
    """An open safetensors file: its checked header, and values in chunks of bounded size.

    Use as a context manager. Raises FormatError on opening a file that breaks a rule.
    """

    def __init__(self, source: Path | Bytes) -> None:
        self._bytes: Bytes = LocalBytes(source) if isinstance(source, Path) else source
        try:
            self.size = self._bytes.size
            length = header_size(self._bytes.read(0, min(8, self.size)), self.size)
            self.header: Header = parse_header(self._bytes.read(8, length), self.size)
            start = self.header.data_start
            tensors = self.header.tensors.items()
            self._bytes.laid_out({name: (start + info.begin, start + info.end) for name, info in tensors})
        except BaseException:
            self._bytes.close()
            raise

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bytes.close()

    def raw_chunks(self, name: str, elements: int = CHUNK_ELEMENTS) -> Iterator[bytes]:
        """The bytes of one tensor, at most `elements` elements at a time (an even number for sub-byte types)."""
        info = self.header.tensors[name]
        step = max(1, elements * BITS[info.dtype] // 8)
        for offset in range(info.begin, info.end, step):
            yield self._bytes.read(self.header.data_start + offset, min(step, info.end - offset))

    def chunks(self, name: str, elements: int = CHUNK_ELEMENTS) -> Iterator[Array]:
        """The values of one tensor as flat arrays of at most `elements` elements."""
        dtype = self.header.tensors[name].dtype
        for raw in self.raw_chunks(name, elements):
            yield decode(raw, dtype)

    def read(self, name: str) -> Array:
        """One whole tensor in its shape; for small tensors, since all of it is in memory."""
        info = self.header.tensors[name]
        raw = self._bytes.read(self.header.data_start + info.begin, info.nbytes)
        return decode(raw, info.dtype).reshape(info.shape)

    def read_rows(self, name: str, start: int, stop: int) -> Array:
        """Rows of one tensor (its first axis), as a matrix of (rows, everything else); a vector counts as one row."""
        info = self.header.tensors[name]
        rows = info.shape[0] if len(info.shape) > 1 else 1
        row_bytes = info.nbytes // rows if rows else 0
        raw = self._bytes.read(self.header.data_start + info.begin + start * row_bytes, (stop - start) * row_bytes)
        return decode(raw, info.dtype).reshape(stop - start, -1)

    def fill_rows(self, name: str, start: int, out: Array) -> None:
        """Rows of one tensor from `start` on into `out` (rows × everything else, float32, contiguous).

        float32 goes from the file straight into that memory. Raises FormatError as `decode` and for a short file.
        """
        if not out.size:
            return
        info = self.header.tensors[name]
        begin = self.header.data_start + info.begin + start * out.shape[1] * BITS[info.dtype] // 8
        if info.dtype == "F32":
            self._bytes.read_into(begin, out.data.cast("B"))
        elif info.dtype == "BF16":
            # The bits come into the upper half of the memory and are copied out before they are spread over all of it.
            bits = out.reshape(-1).view(np.uint16)[out.size :]
            self._bytes.read_into(begin, bits.data.cast("B"))
            np.left_shift(bits.astype(np.uint32), np.uint32(16), out=out.reshape(-1).view(np.uint32))
        else:
            np.copyto(
                out, decode(self._bytes.read(begin, out.size * BITS[info.dtype] // 8), info.dtype).reshape(out.shape)
            )


def _float8_table(exponent_bits: int, bias: int, infinities: bool) -> npt.NDArray[np.float32]:
    """All 256 values of an 8-bit float (OCP 8-bit floating point specification 1.0)."""
    mantissa_bits = 7 - exponent_bits
    table = np.zeros(256, dtype=np.float32)
    for code in range(256):
        exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1)
        fraction = (code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
        value = fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias)
        if infinities and exponent == (1 << exponent_bits) - 1:
            value = float("nan") if fraction else float("inf")
        elif not infinities and code & 0x7F == 0x7F:
            value = float("nan")
        table[code] = -value if code & 0x80 else value
    return table


_E4M3 = _float8_table(4, 7, infinities=False)
_E5M2 = _float8_table(5, 15, infinities=True)
