"""The header of a safetensors file, read more strictly than the official reader.

Layout (safetensors format, Hugging Face): 8 bytes little-endian length N, N bytes of JSON, then one buffer that
the tensors must tile exactly: no hole, no overlap, nothing after the last. A file with a hole could be two things
at once, so it is refused. NaN and infinities are legal here; the inspection counts them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.formats import strict_json
from adapters.formats.errors import FormatError

MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_TENSORS = 50_000
MAX_NAME_LENGTH = 1024
MAX_DIMENSIONS = 16
MAX_METADATA_ENTRIES = 10_000
MAX_METADATA_LENGTH = 1024 * 1024
MAX_COUNT = 2**63 - 1

# Bits per element; sub-byte types must still fill whole bytes.
BITS: dict[str, int] = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip

_ARCHIVE = "This is a zip archive (perhaps a torch .bin file), not safetensors."
_CONVERT = "Load it where you trust it and write it again with safetensors.torch.save_file."


@dataclass(frozen=True)
class TensorInfo:
    """One tensor's place: `begin` and `end` are byte offsets relative to the header's `data_start`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        """Number of elements."""
        result = 1
        for size in self.shape:
            result *= size
        return result

    @property
    def nbytes(self) -> int:
        """Number of bytes in the file."""
        return self.end - self.begin


@dataclass(frozen=True)
class Header:
    """A checked header: tensors in file order, metadata, and the file offset where the data begins."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = field(default_factory=dict)
    data_start: int = 0


def header_size(first8: bytes, file_size: int) -> int:
    """Number of bytes of JSON that follow the 8-byte prefix, believed only if the file can hold them.

    Raises FormatError: `empty`, `too_short`, `renamed_zip`, `renamed_pickle`, `header_too_large`,
    `header_beyond_file`, `header_too_small`.
    """
    if file_size == 0:
        raise FormatError("empty", "The file is empty. Save the weights again and upload the new file.")
    if file_size < 8 or len(first8) < 8:
        raise FormatError(
            "too_short", "The file is shorter than 8 bytes, so it cannot be safetensors. Upload it again."
        )
    size = int.from_bytes(first8[:8], "little")
    if size > MAX_HEADER_BYTES or size > file_size - 8:
        if first8[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            raise FormatError("renamed_zip", f"{_ARCHIVE} {_CONVERT}")
        if first8[0] == 0x80 and first8[1] in (2, 3, 4, 5):
            raise FormatError(
                "renamed_pickle", f"This is a pickle under another name; opening one can run any code. {_CONVERT}"
            )
    if size > file_size - 8:
        raise FormatError(
            "header_beyond_file",
            f"The header claims {size:,} bytes but only {max(file_size - 8, 0):,} follow. "
            "The file is cut off or is not safetensors; upload it again.",
        )
    if size > MAX_HEADER_BYTES:
        raise FormatError(
            "header_too_large", f"The header is {size:,} bytes; at most {MAX_HEADER_BYTES:,} are accepted."
        )
    if size < 2:
        raise FormatError("header_too_small", "The header is empty, so the file is not safetensors. Save it again.")
    return size


def parse_header(json_bytes: bytes, file_size: int) -> Header:
    """Check every rule of the format on the header's JSON and return the tensors in file order.

    `file_size` is the size of the whole file. Raises FormatError with one code per rule (see the checks below and
    strict_json.loads).
    """
    if json_bytes[:1] != b"{":
        raise FormatError("header_start", "The header does not begin with '{', so the file is not safetensors.")
    parsed = strict_json.loads(json_bytes, what="The header", max_bytes=MAX_HEADER_BYTES, max_depth=8)
    if not isinstance(parsed, dict):
        raise FormatError("header_start", "The header is not a JSON object, so the file is not safetensors.")
    metadata = _metadata(parsed.pop("__metadata__", {}))
    if len(parsed) > MAX_TENSORS:
        raise FormatError("too_many_tensors", f"{len(parsed):,} tensors; at most {MAX_TENSORS:,} are accepted.")
    infos = sorted((_tensor(name, entry) for name, entry in parsed.items()), key=lambda info: (info.begin, info.end))
    data_start = 8 + len(json_bytes)
    _check_tiling(infos, file_size - data_start)
    return Header({info.name: info for info in infos}, metadata, data_start)


def read_header(path: Path) -> Header:
    """The checked header of a local file, by two positional reads. Raises FormatError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        file_size = os.fstat(descriptor).st_size
        size = header_size(os.pread(descriptor, 8, 0), file_size)
        return parse_header(os.pread(descriptor, size, 8), file_size)
    finally:
        os.close(descriptor)


def join_headers(headers: Iterable[Header]) -> Header:
    """One header naming all tensors of a checkpoint in several files; its offsets have no meaning any more.

    Raises FormatError `duplicate_tensor` if two files hold the same name.
    """
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for header in headers:
        for name, info in header.tensors.items():
            if name in tensors:
                raise FormatError("duplicate_tensor", f"Two files both hold the tensor {name!r}. Keep it in one file.")
            tensors[name] = info
        metadata.update(header.metadata)
    return Header(tensors, metadata, 0)


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise FormatError("metadata_type", "The header's __metadata__ must map text to text only.")
    length = sum(len(key) + len(text) for key, text in value.items())
    if len(value) > MAX_METADATA_ENTRIES or length > MAX_METADATA_LENGTH:
        raise FormatError("metadata_too_large", "The header's __metadata__ is too large. Put long text in README.md.")
    return value


def _tensor(name: str, entry: Any) -> TensorInfo:
    if not name or len(name) > MAX_NAME_LENGTH or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise FormatError("tensor_name", f"The tensor name {name[:80]!r} is empty, too long or not printable.")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(
            "tensor_entry", f"The entry of tensor {name!r} must hold exactly dtype, shape and data_offsets."
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise FormatError(
            "dtype", f"Tensor {name!r} has the unknown type {str(dtype)[:40]!r}. Known: {', '.join(BITS)}."
        )
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise FormatError("shape", f"Tensor {name!r} has a shape that is not a list of non-negative whole numbers.")
    if len(shape) > MAX_DIMENSIONS:
        raise FormatError(
            "shape", f"Tensor {name!r} has {len(shape)} dimensions; at most {MAX_DIMENSIONS} are accepted."
        )
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and 0 <= offset <= MAX_COUNT for offset in offsets)
        or offsets[0] > offsets[1]
    ):
        raise FormatError("offsets", f"Tensor {name!r} has offsets that are not [begin, end] with begin <= end.")
    bits = BITS[dtype]
    for size in shape:
        bits *= size
        if bits > MAX_COUNT or size > MAX_COUNT:
            raise FormatError("shape_overflow", f"Tensor {name!r} has a shape too large to exist.")
    if bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        raise FormatError(
            "size_mismatch",
            f"Tensor {name!r} of type {dtype} and shape {shape} does not fill its {offsets[1] - offsets[0]:,} bytes.",
        )
    return TensorInfo(name, dtype, tuple(shape), offsets[0], offsets[1])


def _check_tiling(infos: list[TensorInfo], buffer_size: int) -> None:
    position = 0
    for info in infos:
        if info.begin > position:
            raise FormatError(
                "hole",
                f"{info.begin - position:,} bytes before tensor {info.name!r} belong to no tensor. Save it again.",
            )
        if info.begin < position:
            raise FormatError("overlap", f"Tensor {info.name!r} overlaps the one before it. Save the file again.")
        position = info.end
    if position > buffer_size:
        raise FormatError(
            "truncated",
            f"The header describes {position:,} bytes of data but the file holds {max(buffer_size, 0):,}. "
            "The upload was cut off; send the file again.",
        )
    if position < buffer_size:
        raise FormatError(
            "trailing_bytes",
            f"{buffer_size - position:,} bytes after the last tensor belong to no tensor. Save it again.",
        )
