"""Which chunks of which xorbs answer a range of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from hub.xet.xorbs import Table

Key = TypeVar("Key")


@dataclass(frozen=True)
class Term(Generic[Key]):
    """Chunks `start` to `end` (exclusive) of a xorb; `offset`: where their first byte stands in the file."""

    xorb: Key
    start: int
    end: int
    offset: int
    size: int


@dataclass(frozen=True)
class Plan(Generic[Key]):
    """Terms without chunks that are not needed, and how many bytes to skip at the beginning."""

    skip: int
    terms: tuple[Term[Key], ...]


def plan(terms: Sequence[Term[Key]], tables: Mapping[Key, Table], first: int, last: int) -> Plan[Key]:
    """What holds bytes `first` to `last` (exclusive) of the file. `terms`: those that touch the range, in order."""
    kept = [term for term in terms if term.offset < last and term.offset + term.size > first]
    if not kept:
        return Plan(0, ())
    kept[0] = _without_before(kept[0], tables[kept[0].xorb], first)
    kept[-1] = _without_after(kept[-1], tables[kept[-1].xorb], last)
    return Plan(first - kept[0].offset, tuple(kept))


def ranges(terms: Sequence[Term[Key]]) -> dict[Key, list[tuple[int, int]]]:
    """Per xorb the chunk ranges of these terms, ascending, touching ones joined: never the chunks of a gap."""
    found: dict[Key, list[tuple[int, int]]] = {}
    for term in terms:
        found.setdefault(term.xorb, []).append((term.start, term.end))
    return {xorb: join(pairs) for xorb, pairs in found.items()}


def join(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping and adjacent ranges as one each, ascending."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(pairs):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def covers(joined: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Does one of these ranges hold all of `start` to `end`?"""
    return any(first <= start and end <= last for first, last in joined)


def pieces(term: Term[Key], table: Table, most: int) -> Iterator[Term[Key]]:
    """A term in runs of chunks whose bodies have about `most` bytes at most, so that memory stays small."""
    start, offset = term.start, term.offset
    while start < term.end:
        begin = table.body_range(start, start + 1)[0]
        end = int(np.searchsorted(table.ends, begin + most, side="right"))
        end = min(max(end, start + 1), term.end)
        size = table.unpacked(start, end)
        yield Term(term.xorb, start, end, offset, size)
        start, offset = end, offset + size


def _without_before(term: Term[Key], table: Table, first: int) -> Term[Key]:
    ends = term.offset + np.cumsum(table.lengths[term.start : term.end], dtype=np.int64)
    dropped = int(np.searchsorted(ends, first, side="right"))
    skipped = int(ends[dropped - 1]) - term.offset if dropped else 0
    return Term(term.xorb, term.start + dropped, term.end, term.offset + skipped, term.size - skipped)


def _without_after(term: Term[Key], table: Table, last: int) -> Term[Key]:
    ends = term.offset + np.cumsum(table.lengths[term.start : term.end], dtype=np.int64)
    kept = min(int(np.searchsorted(ends, last, side="left")) + 1, term.end - term.start)
    return Term(term.xorb, term.start, term.start + kept, term.offset, int(ends[kept - 1]) - term.offset)
