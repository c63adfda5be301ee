"""One chunk on the wire and in the store: an 8-byte header, and the bytes as they are, by LZ4, or by planes and LZ4."""

from __future__ import annotations

import lz4.frame
import numpy as np

from hub.xet.hashes import FormatError

HEADER = 8
MAX_CHUNK = 128 * 1024
MAX_PAYLOAD = 2 * MAX_CHUNK
NONE, LZ4, BG4 = 0, 1, 2
_GROUPS = 4


def read_header(header: bytes) -> tuple[int, int, int]:
    """(scheme, bytes of payload, bytes uncompressed) of a chunk header. Raises FormatError."""
    if len(header) != HEADER:
        raise FormatError("A chunk's header is cut off.")
    packed, unpacked = int.from_bytes(header[1:4], "little"), int.from_bytes(header[5:8], "little")
    scheme = header[4]
    if header[0] != 0 or scheme not in (NONE, LZ4, BG4):
        raise FormatError("A chunk has an unknown version or compression scheme.")
    if not 1 <= unpacked <= MAX_CHUNK or not 1 <= packed <= MAX_PAYLOAD:
        raise FormatError(f"A chunk has 1 to {MAX_CHUNK} bytes.")
    if scheme == NONE and packed != unpacked:
        raise FormatError("A chunk that is not compressed must have equal lengths.")
    return scheme, packed, unpacked


def unpack(scheme: int, payload: bytes | memoryview, length: int) -> bytes:
    """The uncompressed bytes: exactly `length`, never more are produced. Raises FormatError."""
    if scheme == NONE:
        return bytes(payload)
    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        data = decompressor.decompress(payload, max_length=length + 1)
    except (RuntimeError, EOFError, ValueError, MemoryError) as error:
        raise FormatError("A chunk is not a valid LZ4 frame.") from error
    if len(data) != length or not decompressor.eof or decompressor.unused_data:
        raise FormatError("A chunk's LZ4 frame does not hold what its header says.")
    return _join_planes(data) if scheme == BG4 else data


def pack(data: bytes | memoryview, scheme: int) -> bytes:
    """Header and payload, by this scheme if it makes the chunk smaller, else as it is. `data`: 1 to 131072 bytes."""
    payload: bytes | memoryview = data
    if scheme != NONE:
        packed = lz4.frame.compress(_split_planes(data) if scheme == BG4 else data, store_size=False)
        if len(packed) < len(data):
            payload = packed
        else:
            scheme = NONE
    header = b"\0" + len(payload).to_bytes(3, "little") + bytes([scheme]) + len(data).to_bytes(3, "little")
    return header + payload


def best_scheme(data: bytes | memoryview) -> int:
    """The scheme that makes this chunk smallest: a good guess for its neighbours too."""
    sizes = {
        NONE: len(data) * 0.98,
        LZ4: len(lz4.frame.compress(data, store_size=False)),
        BG4: len(lz4.frame.compress(_split_planes(data), store_size=False)),
    }
    return min(sizes, key=lambda scheme: sizes[scheme])


def _split_planes(data: bytes | memoryview) -> bytes:
    """All bytes at index 0 mod 4, then 1, 2, 3 mod 4."""
    flat = np.frombuffer(data, dtype=np.uint8)
    return b"".join(flat[group::_GROUPS].tobytes() for group in range(_GROUPS))


def _join_planes(planes: bytes) -> bytes:
    flat = np.frombuffer(planes, dtype=np.uint8)
    data = np.empty_like(flat)
    start = 0
    for group in range(_GROUPS):
        count = (len(flat) - group + _GROUPS - 1) // _GROUPS
        data[group::_GROUPS] = flat[start : start + count]
        start += count
    return data.tobytes()
