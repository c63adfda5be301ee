"""Xet's hashes: keyed BLAKE3 of chunks, merkle roots of lists of chunks, and how they are written as text.

A raw hash has 32 bytes. Its text form prints four little-endian u64 as 16 hex digits each, so it is not plain hex.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from blake3 import blake3

SIZE = 32
ZERO = bytes(SIZE)
_CHUNK = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
_NODE = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
_RANGE = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
_TEXT = re.compile(r"[0-9a-f]{64}")
_WORDS = struct.Struct("<4Q")
MIN_CUT, MAX_GROUP, CUT_EVERY = 3, 9, 4
"""A group of nodes ends at the first hash divisible by 4 from its third member on, at the ninth at the latest."""


class FormatError(ValueError):
    """These bytes are not what the format says; the message says where."""


def to_text(raw: bytes) -> str:
    """The form in addresses and JSON. `raw`: 32 bytes."""
    return "{:016x}{:016x}{:016x}{:016x}".format(*_WORDS.unpack(raw))


def from_text(text: str) -> bytes:
    """The 32 raw bytes of a text form. Raises FormatError."""
    if not _TEXT.fullmatch(text):
        raise FormatError("A hash is written as 64 lower-case hex digits.")
    return _WORDS.pack(*(int(text[start : start + 16], 16) for start in range(0, 64, 16)))


def chunk_hash(data: bytes | memoryview) -> bytes:
    """The hash of a chunk's uncompressed bytes."""
    return blake3(data, key=_CHUNK).digest()


def range_hash(raw_hashes: bytes) -> bytes:
    """What shows that a client knows a range of chunks: over their raw hashes, one after the other."""
    return blake3(raw_hashes, key=_RANGE).digest()


def root(hashes: Sequence[bytes], lengths: Sequence[int]) -> bytes:
    """The merkle root of chunks; of a xorb its hash. An empty list is 32 zero bytes, one element is itself."""
    if not hashes:
        return ZERO
    nodes = list(hashes)
    sizes = [int(length) for length in lengths]
    while len(nodes) > 1:
        nodes, sizes = _level(nodes, sizes)
    return nodes[0]


def file_hash(hashes: Sequence[bytes], lengths: Sequence[int]) -> bytes:
    """The hash of a file by all its chunks in order, repeated ones repeated. An empty file is 32 zero bytes."""
    return blake3(root(hashes, lengths), key=ZERO).digest() if hashes else ZERO


def _level(nodes: list[bytes], sizes: list[int]) -> tuple[list[bytes], list[int]]:
    """Cut a list into groups from the left and hash each into one node."""
    upper: list[bytes] = []
    totals: list[int] = []
    start, count = 0, len(nodes)
    texts = [to_text(node) for node in nodes]
    while start < count:
        end = _group_end(nodes, start, count)
        lines = "".join(f"{texts[at]} : {sizes[at]}\n" for at in range(start, end))
        upper.append(blake3(lines.encode(), key=_NODE).digest())
        totals.append(sum(sizes[start:end]))
        start = end
    return upper, totals


def _group_end(nodes: list[bytes], start: int, count: int) -> int:
    if count - start < MIN_CUT:
        return count
    last = min(start + MAX_GROUP, count)
    for at in range(start + MIN_CUT - 1, last):
        if nodes[at][24] % CUT_EVERY == 0:  # the lowest byte of the fourth u64
            return at + 1
    return last
