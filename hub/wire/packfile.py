"""Git's pack format and packet lines: what `git fetch` receives and `git push` sends. Every size is bounded."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

MAX_OBJECTS = 50_000
MAX_OBJECT_BYTES = 8 * 1024 * 1024
"""No object of an accepted repo is larger: bigger files are LFS pointers."""

MAX_TOTAL_BYTES = 128 * 1024 * 1024
KINDS = {"commit": 1, "tree": 2, "blob": 3}
NAMES = {number: name for name, number in KINDS.items()} | {4: "tag"}
OFS_DELTA, REF_DELTA = 6, 7
SIDEBAND = 65_515
FLUSH = b"0000"


class BadPack(Exception):
    """What arrived is no pack, or a larger one than is accepted; the message says which."""


def packet(line: bytes) -> bytes:
    """One packet line."""
    return b"%04x" % (len(line) + 4) + line


def sideband(data: Iterable[bytes], channel: int = 1) -> Iterator[bytes]:
    """Bytes as packets of a channel: 1 data, 2 messages to the person, 3 a fatal error."""
    for chunk in data:
        for start in range(0, len(chunk), SIDEBAND):
            yield packet(bytes([channel]) + chunk[start : start + SIDEBAND])


def packets(read: Callable[[int], bytes]) -> Iterator[bytes | None]:
    """Packet lines without their line ends; None for a flush. Ends with the input. Raises BadPack."""
    while True:
        size = read(4)
        if not size:
            return
        try:
            length = int(size, 16) if len(size) == 4 else -1
        except ValueError as error:
            raise BadPack("This is not git's packet format.") from error
        if length < 0:
            raise BadPack("The request ends in the middle of a line.")
        if length < 4:
            yield None
            continue
        line = read(length - 4)
        if len(line) != length - 4:
            raise BadPack("The request ends in the middle of a line.")
        yield line.rstrip(b"\n")


def object_id(kind: str, data: bytes) -> str:
    """Git's id of an object."""
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False).hexdigest()


def write(count: int, objects: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """A pack of `count` objects (kind, body), piece by piece: each whole, none as a delta."""
    digest = hashlib.sha1(usedforsecurity=False)
    head = b"PACK" + struct.pack(">II", 2, count)
    digest.update(head)
    yield head
    for kind, data in objects:
        piece = _entry_head(KINDS[kind], len(data)) + zlib.compress(data, 1)
        digest.update(piece)
        yield piece
    yield digest.digest()


def _entry_head(kind: int, size: int) -> bytes:
    first, size = kind << 4 | size & 0x0F, size >> 4
    out = bytearray()
    while size:
        out.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    out.append(first)
    return bytes(out)


class Reader:
    """Reads a pack. Deltas are resolved against the pack itself and against `known` (id → (kind, body) or None)."""

    def __init__(self, file: BinaryIO, known: Callable[[str], tuple[str, bytes] | None]) -> None:
        self._file, self._known = file, known
        self._buffer = b""
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._position = 0
        self._total = 0
        self._by_offset: dict[int, tuple[str, bytes]] = {}
        self._waiting: dict[int | str, list[tuple[int, bytes]]] = {}
        """Base (its offset in the pack, or its id) → the deltas on it, each with its own offset."""

        self.objects: dict[str, tuple[str, bytes]] = {}

    def read(self) -> dict[str, tuple[str, bytes]]:
        """Every object of the pack by id: (kind, body). Raises BadPack."""
        head = self._take(12)
        if len(head) < 12 or head[:4] != b"PACK" or struct.unpack(">I", head[4:8])[0] not in (2, 3):
            raise BadPack("This is not a pack.")
        count = struct.unpack(">I", head[8:12])[0]
        if count > MAX_OBJECTS:
            raise BadPack(f"A push may bring {MAX_OBJECTS:,} objects at most; push fewer commits at a time.")
        for _number in range(count):
            self._entry()
        expected = self._digest.digest()
        if self._take(20, counted=False) != expected:
            raise BadPack("The pack arrived damaged; push again.")
        self._resolve()
        return self.objects

    def _entry(self) -> None:
        offset = self._position
        byte = self._byte()
        kind, size, shift = byte >> 4 & 7, byte & 0x0F, 4
        while byte & 0x80:
            byte = self._byte()
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > 60:
                raise BadPack("An object of the pack has no sensible size.")
        base: int | str = 0
        if kind == OFS_DELTA:
            base = offset - self._distance()
        elif kind == REF_DELTA:
            base = self._take(20).hex()
        elif kind not in NAMES:
            raise BadPack("The pack holds an object of an unknown kind.")
        data = self._inflate(size)
        if kind in NAMES:
            self._keep(offset, NAMES[kind], data)
        else:
            self._weigh(data)
            self._waiting.setdefault(base, []).append((offset, data))

    def _distance(self) -> int:
        byte = self._byte()
        value = byte & 0x7F
        while byte & 0x80:
            byte = self._byte()
            value = (value + 1) << 7 | byte & 0x7F
            if value > 1 << 40:
                raise BadPack("A delta of the pack points nowhere.")
        return value

    def _weigh(self, data: bytes) -> None:
        """Count what a pack unpacks to, deltas and what they make, against the limits. Raises BadPack."""
        self._total += len(data)
        if len(data) > MAX_OBJECT_BYTES or self._total > MAX_TOTAL_BYTES:
            raise BadPack(
                f"A push may bring objects of {MAX_OBJECT_BYTES:,} bytes each and {MAX_TOTAL_BYTES:,} in all. "
                "Track large files with `git lfs track`, and push fewer commits at a time."
            )

    def _keep(self, offset: int, kind: str, data: bytes) -> str:
        self._weigh(data)
        sha = object_id(kind, data)
        self._by_offset[offset] = self.objects[sha] = (kind, data)
        return sha

    def _resolve(self) -> None:
        """Apply each delta once, as soon as its base is there. Bases that the pack lacks are asked for once each."""
        self._apply([*self._by_offset, *self.objects])
        for base in [base for base in self._waiting if isinstance(base, str)]:
            if base in self._waiting and (found := self._known(base)) is not None:
                self._apply([base], {base: found})
        if self._waiting:
            raise BadPack("The pack has a delta whose base is missing.")

    def _apply(self, bases: list[int | str], known: dict[str, tuple[str, bytes]] | None = None) -> None:
        """Apply all deltas on these bases, and on what they make."""
        while bases:
            base = bases.pop()
            for offset, delta in self._waiting.pop(base, ()):
                found = (
                    self._by_offset[base] if isinstance(base, int) else self.objects.get(base) or (known or {})[base]
                )
                bases += [offset, self._keep(offset, found[0], apply_delta(found[1], delta))]

    def _inflate(self, size: int) -> bytes:
        if size > MAX_OBJECT_BYTES:
            raise BadPack(
                f"An object has {size:,} bytes, more than the {MAX_OBJECT_BYTES:,} allowed outside LFS. "
                "Track such files with `git lfs track`."
            )
        engine = zlib.decompressobj()
        out = bytearray()
        while not engine.eof:
            chunk = self._buffer or self._file.read(65_536)
            self._buffer = b""
            if not chunk:
                raise BadPack("The pack ends in the middle of an object.")
            try:
                out += engine.decompress(chunk, size + 1 - len(out))
            except zlib.error as error:
                raise BadPack("An object of the pack cannot be unpacked.") from error
            rest = engine.unused_data if engine.eof else engine.unconsumed_tail
            self._count(chunk[: len(chunk) - len(rest)])
            self._buffer = rest
            if len(out) > size:
                break
        if len(out) != size:
            raise BadPack("An object of the pack is not as long as it says.")
        return bytes(out)

    def _byte(self) -> int:
        data = self._take(1)
        if not data:
            raise BadPack("The pack ends too early.")
        return data[0]

    def _take(self, size: int, *, counted: bool = True) -> bytes:
        while len(self._buffer) < size:
            more = self._file.read(65_536)
            if not more:
                break
            self._buffer += more
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        if counted:
            self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self._position += len(data)


def apply_delta(base: bytes, delta: bytes) -> bytes:
    """What a delta makes of its base. Raises BadPack, also before it would make more than one object may have."""
    base_size, at = _varint(delta, 0)
    size, at = _varint(delta, at)
    if base_size != len(base) or size > MAX_OBJECT_BYTES:
        raise BadPack("A delta of the pack does not fit its base, or makes too large an object.")
    out = bytearray()
    try:
        while at < len(delta):
            code = delta[at]
            at += 1
            if code & 0x80:
                start, length, at = _copy(code, delta, at)
                if start + length > len(base):
                    raise BadPack("A delta of the pack reads past its base.")
                out += base[start : start + length]
            elif code:
                out += delta[at : at + code]
                at += code
            if not code or len(out) > size:
                raise BadPack("A delta of the pack makes no sense.")
    except IndexError as error:
        raise BadPack("A delta of the pack ends too early.") from error
    if len(out) != size:
        raise BadPack("A delta of the pack is not as long as it says.")
    return bytes(out)


def _copy(code: int, delta: bytes, at: int) -> tuple[int, int, int]:
    """(start, length, next position) of a copy instruction."""
    values = []
    for bits in (range(4), range(4, 7)):
        value = 0
        for place, bit in enumerate(bits):
            if code & 1 << bit:
                value |= delta[at] << 8 * place
                at += 1
        values.append(value)
    return values[0], values[1] or 0x10000, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 60:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
    raise BadPack("A delta of the pack ends too early.")
