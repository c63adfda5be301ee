"""The recipe of an encoded file: one way for each tensor, the length of every block of the payload, and checksums.

Bytes: `TSR1`, the length of the JSON (little-endian, 4 bytes), the JSON (zstd), then 8 bytes of checksum (blake3) for
each block. Blocks are 1 MiB of one tensor; the header's bytes, as they are in the file, are the first block. A block
of the payload is empty (the prediction is exact), as long as the block (bits that differ, as they are) or shorter (the
same bits by byte planes, zstd).
Nothing in it is believed: `parse` bounds every number before memory is taken.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from blake3 import blake3

from adapters.encoding.listed import from_json, to_json
from adapters.encoding.numbers import Bits
from adapters.encoding.sources import Damaged
from adapters.encoding.ways import Way
from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import MAX_HEADER_BYTES, MAX_TENSORS

MAGIC = b"TSR1"
BLOCK = 1 << 20
"""Bytes of a tensor in one block; part of the format."""

CHECK = 8
MAX_JSON_BYTES = 32 << 20
MAX_INPUTS = 256
_LEVEL = 1
_MAX_WINDOW = 1 << 24


@dataclass(frozen=True)
class Recipe:
    """How a file of `size` bytes follows from `inputs` files. The header is the first `head` bytes of the file.

    `head_way` predicts the header. `ways` are of the tensors that have bytes, in file order; `lengths` are of the
    payload's blocks (the header's first), `checks` of the file's.
    """

    size: int
    inputs: int
    head: int
    head_way: Way
    ways: tuple[Way, ...]
    lengths: tuple[int, ...]
    checks: bytes

    def to_bytes(self) -> bytes:
        """As it is stored."""
        body = {
            "size": self.size, "inputs": self.inputs, "head": self.head, "head_way": to_json(self.head_way),
            "ways": [to_json(way) for way in self.ways], "lengths": list(self.lengths),
        }  # fmt: skip
        packed = zstandard.ZstdCompressor(level=19).compress(json.dumps(body, separators=(",", ":")).encode())
        return MAGIC + len(packed).to_bytes(4, "little") + packed + self.checks


def parse(data: bytes) -> Recipe:
    """Read a recipe. Raises FormatError for anything that `to_bytes` would not have written."""
    if data[:4] != MAGIC or len(data) < 8:
        raise _bad("it does not begin as one")
    length = int.from_bytes(data[4:8], "little")
    try:
        body = json.loads(unpacked(data[8 : 8 + length], MAX_JSON_BYTES))
    except (ValueError, RecursionError, zstandard.ZstdError) as error:
        raise _bad("it is no JSON") from error
    if not isinstance(body, dict) or set(body) != {"size", "inputs", "head", "head_way", "ways", "lengths"}:
        raise _bad("its fields are others")
    size, inputs, head = (_count(body[name]) for name in ("size", "inputs", "head"))
    if inputs > MAX_INPUTS or not 10 <= head <= min(size, MAX_HEADER_BYTES + 8):
        raise _bad("its numbers are impossible")
    ways, lengths, checks = body["ways"], body["lengths"], bytes(data[8 + length :])
    if not isinstance(ways, list) or len(ways) > MAX_TENSORS or not isinstance(lengths, list):
        raise _bad("its tensors are no list")
    if len(lengths) * CHECK != len(checks) or len(lengths) > size // BLOCK + len(ways) + 1:
        raise _bad("it has another number of blocks")
    numbers = tuple(_count(value) for value in lengths)
    return Recipe(size, inputs, head, from_json(body["head_way"]), tuple(map(from_json, ways)), numbers, checks)


def check_of(block: bytes) -> bytes:
    """The checksum of one block of the file."""
    return blake3(block).digest(CHECK)


def pack(different: Bits, width: int) -> bytes:
    """One block of the payload: empty for no difference; never longer than the block."""
    if not different.any():
        return b""
    planes = different.reshape(-1, width).T if width > 1 and different.size % width == 0 else different
    packed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False).compress(np.ascontiguousarray(planes).data)
    return packed if len(packed) < different.size else different.tobytes()


def unpack(payload: bytes, size: int, width: int) -> Bits | None:
    """The differences of a block of `size` bytes, None if there are none. Raises Damaged."""
    if not payload:
        return None
    if len(payload) == size:
        return np.frombuffer(payload, np.uint8)
    try:
        planes = np.frombuffer(unpacked(payload, size), np.uint8)
    except (ValueError, zstandard.ZstdError) as error:
        raise Damaged("A stored block cannot be read.") from error
    if planes.size != size:
        raise Damaged("A stored block has another size.")
    return planes.reshape(width, -1).T.ravel() if width > 1 and size % width == 0 else planes


def unpacked(data: bytes, most: int) -> bytes:
    """A zstd frame that says its size, which is at most `most`. Raises ValueError, ZstdError."""
    facts = zstandard.get_frame_parameters(data)
    if not 0 < facts.content_size <= most or facts.window_size > max(_MAX_WINDOW, facts.content_size):
        raise ValueError("The frame is larger than it may be.")
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(data, max_output_size=most)


def blocks_of(nbytes: int) -> int:
    """How many blocks a tensor has."""
    return -(-nbytes // BLOCK)


def starts(lengths: Sequence[int]) -> Any:
    """Offsets of the blocks in the payload, and its end."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 60:
        raise _bad("a number is none")
    return value


def _bad(why: str) -> FormatError:
    return FormatError("recipe", f"This is no recipe of a file: {why}.")
