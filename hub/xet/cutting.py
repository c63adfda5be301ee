"""Content-defined cutting: the same boundaries as every Xet client, so that equal content meets equal chunks.

The gear hash of a position depends on the last 64 bytes only: window hash at i = Σ T[byte(i − k)] << k, k = 0…63. So it
is computed for whole blocks at once, by doubling, and the cuts are then walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from hub.xet.gear import GEAR

MIN_CHUNK, MAX_CHUNK = 8192, 131072
_MASK = np.uint64(0xFFFF_0000_0000_0000)
_WINDOW = 64
_BLOCK = 128 * 1024


def cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a stream. Every chunk has 8192 to 131072 bytes, the last 1 to 131072."""
    waiting, candidates, scanned = bytearray(), np.empty(0, dtype=np.int64), 0
    for piece in pieces:
        waiting += piece
        if len(waiting) - scanned < MAX_CHUNK:
            continue
        found = boundaries(waiting, scanned)
        candidates, scanned = np.concatenate([candidates, found]), len(waiting)
        ends = _walk(candidates, scanned, last=False)
        start = 0
        for end in ends:
            yield bytes(waiting[start:end])
            start = end
        del waiting[:start]
        scanned -= start
        candidates = candidates[candidates >= start] - start
    candidates = np.concatenate([candidates, boundaries(waiting, scanned)])
    start = 0
    for end in _walk(candidates, len(waiting), last=True):
        yield bytes(waiting[start:end])
        start = end


def boundaries(data: bytes | bytearray, start: int = 0) -> np.ndarray:
    """Indices of the bytes after which content allows a cut, from `start` on, ascending. Shape [n], int64."""
    flat = np.frombuffer(data, dtype=np.uint8)
    found = []
    for block in range(start, len(flat), _BLOCK):
        before = max(0, block - _WINDOW + 1)
        hashes = GEAR[flat[before : block + _BLOCK]]
        for shift in (1, 2, 4, 8, 16, 32):
            hashes[shift:] += hashes[:-shift] << np.uint64(shift)
        hits = np.flatnonzero((hashes & _MASK) == 0) + before
        found.append(hits[hits >= block])
    del flat  # a bytearray that is looked at cannot shrink
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _walk(candidates: np.ndarray, size: int, *, last: bool) -> list[int]:
    """Ends of chunks: the next candidate from the minimum on, forced at the maximum; `last` ends at the end."""
    ends: list[int] = []
    start = 0
    while start < size:
        at = int(np.searchsorted(candidates, start + MIN_CHUNK - 1))
        end = min(int(candidates[at]) + 1 if at < len(candidates) else size + 1, start + MAX_CHUNK)
        if end > size:
            if last:
                ends.append(size)
            return ends
        ends.append(end)
        start = end
    return ends
