"""Two matrices with the same columns and another number of rows: which rows were kept, added, removed or moved.

Rows are matched by a hash of their bytes. This is how a vocabulary grows or is trimmed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class RowMatch:
    """For every new row the old row with the same bytes, or -1. Equal rows are matched in order."""

    origins: tuple[int, ...]
    old_count: int

    @property
    def kept(self) -> int:
        """Rows found on both sides."""
        return sum(origin >= 0 for origin in self.origins)

    @property
    def removed(self) -> list[int]:
        """Old rows without a partner."""
        used = set(self.origins)
        return [row for row in range(self.old_count) if row not in used]

    @property
    def added(self) -> list[int]:
        """New rows without a partner."""
        return [row for row, origin in enumerate(self.origins) if origin < 0]

    @property
    def in_order(self) -> bool:
        """Whether the kept rows still follow one another as before."""
        kept = [origin for origin in self.origins if origin >= 0]
        return all(one < other for one, other in pairwise(kept))


def match(old: Iterable[bytes], new: Iterable[bytes]) -> RowMatch:
    """Match rows by 128-bit hashes of their bytes."""
    places: dict[bytes, deque[int]] = defaultdict(deque)
    count = 0
    for row, raw in enumerate(old):
        places[_hash(raw)].append(row)
        count += 1
    origins = []
    for raw in new:
        queue = places.get(_hash(raw))
        origins.append(queue.popleft() if queue else -1)
    return RowMatch(tuple(origins), count)


def describe(found: RowMatch) -> str | None:
    """One sentence, or None if fewer than half of the smaller side's rows survived."""
    new_count = len(found.origins)
    if found.kept * 2 < min(found.old_count, new_count) or not found.kept:
        return None
    parts = [f"{found.kept:,} of {found.old_count:,} rows kept"]
    if found.removed:
        parts.append(f"{len(found.removed):,} removed ({runs(found.removed)})")
    if found.added:
        parts.append(f"{len(found.added):,} new ({runs(found.added)})")
    if not found.in_order:
        parts.append("in another order")
    return ", ".join(parts) + "."


def runs(rows: Sequence[int]) -> str:
    """Row numbers in runs, at most four: `1 to 99, 250, …`."""
    spans: list[list[int]] = []
    for row in rows:
        if spans and spans[-1][1] == row - 1:
            spans[-1][1] = row
        else:
            spans.append([row, row])
    words = [f"{low:,}" if low == high else f"{low:,} to {high:,}" for low, high in spans[:4]]
    return ", ".join(words) + (", …" if len(spans) > 4 else "")


def _hash(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()
