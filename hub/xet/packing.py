"""Packing chunks into xorbs: what the server does with files that arrived whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from hub.xet import chunks
from hub.xet.xorbs import MAX_CHUNKS, MAX_UNPACKED, Table, make_table

_RUN = 32
"""One choice of compression holds for so many chunks: neighbours are alike."""


@dataclass
class Packer:
    """Collects chunks until a xorb is full."""

    _parts: list[bytes] = field(default_factory=list)
    _rows: list[tuple[bytes, int, int]] = field(default_factory=list)
    _end: int = 0
    _unpacked: int = 0
    _scheme: int = chunks.NONE

    def __len__(self) -> int:
        return len(self._rows)

    def has_room(self, length: int) -> bool:
        """Does a chunk of so many bytes still fit?"""
        return len(self._rows) < MAX_CHUNKS and self._unpacked + length <= MAX_UNPACKED

    def add(self, raw_hash: bytes, data: bytes) -> int:
        """Append a chunk; returns its number in the xorb."""
        if len(self._rows) % _RUN == 0:
            self._scheme = chunks.best_scheme(data)
        part = chunks.pack(data, self._scheme)
        self._parts.append(part)
        self._end += len(part)
        self._unpacked += len(data)
        self._rows.append((raw_hash, self._end, len(data)))
        return len(self._rows) - 1

    def take(self) -> tuple[bytes, Table]:
        """The body and its table; the packer is empty again."""
        body, table = b"".join(self._parts), make_table(self._rows)
        self._parts, self._rows, self._end, self._unpacked = [], [], 0, 0
        return body, table
