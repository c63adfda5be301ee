"""Xorbs: up to 64 MiB of chunks back to back. Read once from a stream, verified on the way, kept as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hub.xet import chunks, hashes
from hub.xet.chunks import HEADER
from hub.xet.hashes import SIZE, FormatError

MAX_CHUNKS = 8192
MAX_UNPACKED = 64 * 1024 * 1024
MAX_FOOTER = 96 + 40 * MAX_CHUNKS
MAX_BODY = MAX_UNPACKED + HEADER * MAX_CHUNKS + MAX_FOOTER
IDENT = b"XETBLOB"
_FIXED_FOOTER = 92


@dataclass(frozen=True)
class Table:
    """The chunks of one xorb. `hashes`: n × 32 raw bytes; `ends`: where each ends in the body; `lengths`: unpacked."""

    hashes: bytes
    ends: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def hash_at(self, number: int) -> bytes:
        """The raw hash of one chunk."""
        return self.hashes[number * SIZE : (number + 1) * SIZE]

    def raw_hashes(self, start: int, end: int) -> bytes:
        """The raw hashes of chunks `start` to `end` (exclusive), one after the other."""
        return self.hashes[start * SIZE : end * SIZE]

    def body_range(self, start: int, end: int) -> tuple[int, int]:
        """Where chunks `start` to `end` (exclusive) stand in the body, headers included; end exclusive."""
        return (int(self.ends[start - 1]) if start else 0), int(self.ends[end - 1])

    def unpacked(self, start: int, end: int) -> int:
        """Uncompressed bytes of chunks `start` to `end` (exclusive)."""
        return int(self.lengths[start:end].sum(dtype=np.int64))

    @property
    def xorb_hash(self) -> bytes:
        """The merkle root over all chunks."""
        return hashes.root([self.hash_at(at) for at in range(len(self))], self.lengths.tolist())

    def to_bytes(self) -> bytes:
        """For a database column: 40 bytes a chunk."""
        return self.hashes + self.ends.astype("<u4").tobytes() + self.lengths.astype("<u4").tobytes()


def table_from(data: bytes | memoryview) -> Table:
    """A table from `to_bytes`."""
    count = len(data) // (SIZE + 8)
    numbers = np.frombuffer(data, dtype="<u4", offset=count * SIZE)
    return Table(bytes(data[: count * SIZE]), numbers[:count], numbers[count:])


def make_table(rows: Sequence[tuple[bytes, int, int]]) -> Table:
    """A table from (hash, end in the body, unpacked length) of each chunk."""
    return Table(
        b"".join(row[0] for row in rows),
        np.array([row[1] for row in rows], dtype="<u4"),
        np.array([row[2] for row in rows], dtype="<u4"),
    )


def verify(read: Callable[[int], bytes], keep: Callable[[bytes], object] = lambda piece: None) -> Table:
    """Read a body to its end, unpack and hash every chunk, and hand the chunks (never a footer) to `keep`.

    `read(n)` gives up to n bytes, b"" at the end. Memory stays within a few chunks. Raises FormatError.
    """
    rows: list[tuple[bytes, int, int]] = []
    end = total = 0
    while header := _exactly(read, HEADER, or_nothing=True):
        if header.startswith(IDENT):
            table = make_table(rows)
            _check_footer(header + _rest(read), table)
            break
        scheme, packed, length = chunks.read_header(header)
        payload = _exactly(read, packed)
        end, total = end + HEADER + packed, total + length
        if len(rows) == MAX_CHUNKS or total > MAX_UNPACKED:
            raise FormatError(f"A xorb has {MAX_CHUNKS} chunks and {MAX_UNPACKED} bytes at most.")
        rows.append((hashes.chunk_hash(chunks.unpack(scheme, payload, length)), end, length))
        keep(header)
        keep(payload)
    if not rows:
        raise FormatError("A xorb has at least one chunk.")
    return make_table(rows)


def unpack(body: bytes | memoryview, table: Table, start: int, end: int) -> Iterator[bytes]:
    """The bytes of chunks `start` to `end` out of the part of a body that holds them, each checked by its hash.

    Raises FormatError.
    """
    view = memoryview(body)
    at = 0
    for number in range(start, end):
        scheme, packed, length = chunks.read_header(bytes(view[at : at + HEADER]))
        at += HEADER
        payload = view[at : at + packed]
        at += packed
        if len(payload) != packed:
            raise FormatError("The stored bytes of a xorb are cut off.")
        data = chunks.unpack(scheme, payload, length)
        if hashes.chunk_hash(data) != table.hash_at(number):
            raise FormatError(f"The stored bytes of chunk {number} have changed.")
        yield data


def _exactly(read: Callable[[int], bytes], count: int, *, or_nothing: bool = False) -> bytes:
    """So many bytes, however small the pieces they come in."""
    data = read(count)
    if len(data) == count or (or_nothing and not data):
        return data
    pieces, missing = [data], count - len(data)
    while missing:
        piece = read(missing)
        if not piece:
            raise FormatError("The body ends in the middle of a chunk.")
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _rest(read: Callable[[int], bytes]) -> bytes:
    pieces, size = [], 0
    while piece := read(64 * 1024):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_FOOTER:
            raise FormatError("The footer of the xorb is too long.")
    return b"".join(pieces)


def _check_footer(footer: bytes, table: Table) -> None:
    """Third-party clients may send a footer of version 1; what it says must be what we found. Raises FormatError."""
    count = len(table)
    ends = table.ends.astype("<u4").tobytes()
    unpacked = np.cumsum(table.lengths, dtype=np.int64).astype("<u4").tobytes()
    number = count.to_bytes(4, "little")
    before = IDENT + b"\1" + (table.xorb_hash if count else hashes.ZERO)
    first = b"XBLBHSH\0" + number + table.hashes
    second = b"XBLBBND\1" + number + ends + unpacked
    size = _FIXED_FOOTER + 40 * count
    start = before + first + second + number
    if len(footer) != size + 4 or not footer.startswith(start) or footer[-4:] != size.to_bytes(4, "little"):
        raise FormatError("The footer of the xorb does not describe its chunks.")
