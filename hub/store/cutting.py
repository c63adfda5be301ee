"""Cutting a whole object into chunks: those that are stored already are referred to, the others packed into xorbs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from hub.store import objects, xorbs
from hub.store.chunked import FileTerm
from hub.store.models import Blob
from hub.xet import hashes
from hub.xet.cutting import cut
from hub.xet.packing import Packer
from hub.xet.planning import Term

_BATCH = 256
"""Chunks that are looked up together."""

MayUse = Callable[[int, int], bool]
"""(xorb's id, number of a chunk) → may this file refer to it?"""


@dataclass
class _Place:
    """A xorb that is stored, or one that is being packed and gets its id when it is full."""

    key: int | None = None


@dataclass
class _Cut:
    """What is known of a file while it is cut."""

    hashes: list[bytes] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    places: list[tuple[_Place, int]] = field(default_factory=list)
    seen: dict[bytes, tuple[_Place, int]] = field(default_factory=dict)
    packer: Packer = field(default_factory=Packer)
    filling: _Place = field(default_factory=_Place)
    stored: dict[int, _Place] = field(default_factory=dict)


def store_chunks(
    blob: Blob, may_use: MayUse, progress: Callable[[int], None] = lambda done: None
) -> tuple[tuple[FileTerm, ...], str]:
    """Terms and Xet hash of a file that is stored whole. New xorbs are stored; no row says yet that the file uses them.

    Memory: one xorb. Raises StoreError.
    """
    state, done = _Cut(), 0
    chunks = cut(objects.stream(blob.key))
    while batch := list(islice(chunks, _BATCH)):
        raws = [hashes.chunk_hash(chunk) for chunk in batch]
        known = xorbs.find_chunks(raw for raw in raws if raw not in state.seen)
        for raw, chunk in zip(raws, batch, strict=True):
            _place(state, raw, chunk, known.get(raw, []), may_use)
            done += len(chunk)
        progress(done)
    _flush(state)
    return tuple(_terms(state)), hashes.to_text(hashes.file_hash(state.hashes, state.lengths))


def _place(state: _Cut, raw: bytes, chunk: bytes, known: list[tuple[int, int]], may_use: MayUse) -> None:
    """Refer to a chunk where it is: after the one before if possible, so that reads are long; else pack it."""
    place = None
    if state.places:
        before, number = state.places[-1]
        if before.key is not None and (before.key, number + 1) in known and may_use(before.key, number + 1):
            place = before, number + 1
    place = place or state.seen.get(raw)
    if place is None:
        allowed = next((one for one in known if may_use(*one)), None)
        if allowed:
            key, number = allowed
            place = state.stored.setdefault(key, _Place(key)), number
    if place is None:
        if not state.packer.has_room(len(chunk)):
            _flush(state)
        place = state.filling, state.packer.add(raw, chunk)
    state.seen.setdefault(raw, place)
    state.places.append(place)
    state.hashes.append(raw)
    state.lengths.append(len(chunk))


def _flush(state: _Cut) -> None:
    """Store the xorb that was being packed."""
    if not len(state.packer):
        return
    body, table = state.packer.take()
    state.filling.key = xorbs.keep(io.BytesIO(body), table).pk
    state.filling = _Place()


def _terms(state: _Cut) -> Iterator[FileTerm]:
    """Neighbours in one xorb as one term each."""
    start = offset = size = 0
    for at, (place, number) in enumerate(state.places):
        size += state.lengths[at]
        following = state.places[at + 1] if at + 1 < len(state.places) else None
        if following is None or following[0] is not place or following[1] != number + 1:
            first = state.places[start][1]
            assert place.key is not None
            yield Term(place.key, first, number + 1, offset, size)
            start, offset, size = at + 1, offset + size, 0
