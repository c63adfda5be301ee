"""Shards: what a client says about files (ordered chunk ranges) and about the xorbs it has just sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hub.xet.hashes import SIZE, ZERO, FormatError, to_text

TAG = bytes.fromhex("48465265706f4d6574614461746100556967456a7b815783a5bdd95ccdd14aa9")
RECORD = 48
MAX_BYTES = 64 * 1024 * 1024
VERSION, FOOTER = 2, 200
_END = b"\xff" * SIZE
_VERIFIED, _DESCRIBED = 1 << 31, 1 << 30
_TERM = np.dtype([("hash", "V32"), ("flags", "<u4"), ("size", "<u4"), ("start", "<u4"), ("end", "<u4")])
_CHUNK = np.dtype([("hash", "V32"), ("start", "<u4"), ("length", "<u4"), ("flags", "<u4"), ("unused", "<u4")])


@dataclass(frozen=True)
class ShardTerm:
    """A range of chunks of one xorb: `end` exclusive, `size` in uncompressed bytes, `proof` its range hash."""

    xorb: bytes
    start: int
    end: int
    size: int
    proof: bytes


@dataclass(frozen=True)
class ShardFile:
    """A file as ordered terms; `sha256` in hex if the client said it."""

    hash: bytes
    terms: tuple[ShardTerm, ...]
    sha256: str | None

    @property
    def size(self) -> int:
        return sum(term.size for term in self.terms)


@dataclass(frozen=True)
class ShardXorb:
    """A xorb as its chunks: raw hashes one after the other, and their unpacked lengths."""

    hash: bytes
    hashes: bytes
    lengths: np.ndarray


@dataclass(frozen=True)
class Shard:
    files: tuple[ShardFile, ...]
    xorbs: tuple[ShardXorb, ...]


def parse(data: bytes) -> Shard:
    """Read a shard with or without footer. Everything is bounded by the number of bytes. Raises FormatError."""
    if len(data) < RECORD or data[:SIZE] != TAG:
        raise FormatError("This is not a shard.")
    version, footer = int.from_bytes(data[32:40], "little"), int.from_bytes(data[40:48], "little")
    if version != VERSION or footer not in (0, FOOTER):
        raise FormatError(f"Only shards of version {VERSION} are known here.")
    reader = _Reader(data)
    files = tuple(reader.files())
    xorbs = tuple(reader.xorbs())
    if not footer and reader.at != len(data):
        raise FormatError("There is more in the shard than its sections.")
    return Shard(files, xorbs)


def serialize(shard: Shard, *, expires: int | None = None) -> bytes:
    """A shard's bytes. With `expires` (unix seconds) as an answer about chunks: with a footer, no lookup tables."""
    parts = [TAG, VERSION.to_bytes(8, "little"), (FOOTER if expires is not None else 0).to_bytes(8, "little")]
    parts += [_file_bytes(file) for file in sorted(shard.files, key=lambda file: to_text(file.hash))]
    parts.append(_END + bytes(16))
    xorbs_at = sum(map(len, parts))
    parts += [_xorb_bytes(xorb) for xorb in sorted(shard.xorbs, key=lambda xorb: to_text(xorb.hash))]
    parts.append(_END + bytes(16))
    if expires is not None:
        end = sum(map(len, parts))
        numbers = (1, RECORD, xorbs_at, end, 0, end, 0, end, 0)
        parts += [number.to_bytes(8, "little") for number in numbers]
        parts += [ZERO, (0).to_bytes(8, "little"), expires.to_bytes(8, "little"), bytes(48 + 24)]
        parts.append(end.to_bytes(8, "little"))
    return b"".join(parts)


class _Reader:
    """Walks the records of a shard; every step is checked against the number of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, RECORD

    def files(self) -> list[ShardFile]:
        found = []
        while (head := self._head()) is not None:
            raw, flags, count, _total = head
            if not flags & _VERIFIED:
                raise FormatError("A file without verification hashes: send them, they show that you hold its chunks.")
            data = self._take(count * RECORD)
            terms = np.frombuffer(data, dtype=_TERM)
            numbers = (terms[name].tolist() for name in ("start", "end", "size"))
            rows = zip(_split(data), *numbers, _split(self._take(count * RECORD)), strict=True)
            made = tuple(ShardTerm(*row) for row in rows)
            if any(term.start >= term.end for term in made):
                raise FormatError("A term of a file has no chunks.")
            sha256 = to_text(self._take(RECORD)[:SIZE]) if flags & _DESCRIBED else None
            found.append(ShardFile(raw, made, sha256))
        return found

    def xorbs(self) -> list[ShardXorb]:
        found = []
        while (head := self._head()) is not None:
            raw, _flags, count, total = head
            chunks = np.frombuffer(self._take(count * RECORD), dtype=_CHUNK)
            lengths = chunks["length"].astype(np.int64)
            starts = np.concatenate([[0], np.cumsum(lengths)])
            if not count or not np.array_equal(chunks["start"], starts[:-1]) or int(starts[-1]) != total:
                raise FormatError("The chunks of a xorb do not follow one another.")
            found.append(ShardXorb(raw, chunks["hash"].tobytes(), lengths))
        return found

    def _head(self) -> tuple[bytes, int, int, int] | None:
        """Hash, flags, count and total of the next block; None at the end of the section."""
        data = self._take(RECORD)
        if data[:SIZE] == _END:
            return None
        flags, count, total, _disk = np.frombuffer(data, dtype="<u4", offset=SIZE).tolist()
        return data[:SIZE], flags, count, total

    def _take(self, count: int) -> bytes:
        data = self._data[self.at : self.at + count]
        if len(data) != count:
            raise FormatError("The shard is cut off.")
        self.at += count
        return data


def _split(data: bytes) -> list[bytes]:
    """The hash that each record begins with."""
    return [data[at : at + SIZE] for at in range(0, len(data), RECORD)]


def _file_bytes(file: ShardFile) -> bytes:
    flags = _VERIFIED | (_DESCRIBED if file.sha256 is not None else 0)
    parts = [file.hash + _numbers(flags, len(file.terms), 0, 0)]
    parts += [term.xorb + _numbers(0, term.size, term.start, term.end) for term in file.terms]
    parts += [term.proof + bytes(16) for term in file.terms]
    if file.sha256 is not None:
        parts.append(_sha256_bytes(file.sha256) + bytes(16))
    return b"".join(parts)


def _xorb_bytes(xorb: ShardXorb) -> bytes:
    count = len(xorb.lengths)
    rows = np.zeros(count, dtype=_CHUNK)
    rows["hash"] = np.frombuffer(xorb.hashes, dtype="V32")
    rows["length"] = xorb.lengths
    rows["start"][1:] = np.cumsum(xorb.lengths)[:-1]
    return xorb.hash + _numbers(0, count, int(np.sum(xorb.lengths)), 0) + rows.tobytes()


def _sha256_bytes(text: str) -> bytes:
    """Stored so that its text form is the usual hex."""
    raw = bytes.fromhex(text)
    return b"".join(raw[at : at + 8][::-1] for at in range(0, SIZE, 8))


def _numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)
