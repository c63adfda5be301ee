"""Reading a file, however it is stored: as one object, as ranges of chunks, or as what follows from other files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from hub.store import chunked, objects, rebuilding
from hub.store.models import Blob, BlobState, Prediction


def stream(blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Bytes `start` to `end` (exclusive) of a file, however it is stored. Raises StoreError."""
    if blob.whole:
        return objects.stream(blob.key, start, end)
    return chunked.stream(blob, start, end) if blob.xet_hash else _predicted(blob, start, end)


def read_range(blob: Blob, start: int, end: int) -> bytes:
    """A small range in one piece. Raises StoreError."""
    if blob.whole:
        return objects.read_range(blob.key, start, min(end, blob.size))
    return b"".join(stream(blob, start, end))


def range_reader(blob: Blob) -> Callable[[int, memoryview], None] | None:
    """Fills memory with what lies at a place of a file, from any thread; None for one that has to be rebuilt.

    What is in chunks is checked by their hashes; of what is whole no part can be, so its reader should know hashes.
    The function raises StoreError.
    """
    if blob.whole:
        return partial(objects.read_into, blob.key)
    return chunked.range_reader(blob) if blob.xet_hash else None


def _predicted(blob: Blob, start: int, end: int | None) -> Iterator[bytes]:
    last = blob.size if end is None else min(end, blob.size)
    if start < last:
        row = Prediction.objects.select_related("blob").filter(blob=blob, state=BlobState.PRESENT).first()
        if row is None:
            raise objects.ObjectMissing("This file is not stored.")
        yield from rebuilding.stream(row, start, last, stream)
