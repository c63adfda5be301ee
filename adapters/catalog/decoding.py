"""How the hub's store reads files that were encoded here: the registered decoder. Web processes run it; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adapters import encoding
from adapters.formats.errors import FormatError
from hub.store.chunked import Damaged
from hub.store.rebuilding import Sources

NAME = "tensors-1"
"""Recipes that begin with TSR1. Another format gets another name; this one stays readable."""

_SORRY = "A stored file cannot be rebuilt as it was; run check_store."


class StoredTensors:
    """A decoder whose errors are the store's."""

    def __init__(self, recipe: bytes, sizes: Sequence[int], sources: Sources) -> None:
        try:
            self._decoder = encoding.Decoder(recipe, sizes, sources)
        except (FormatError, encoding.Damaged) as error:
            raise Damaged(_SORRY) from error

    def stream(self, sources: Sources, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive). Raises Damaged, StoreError."""
        try:
            yield from self._decoder.stream(sources, start, end)
        except encoding.Damaged as error:
            raise Damaged(_SORRY) from error


def opened(recipe: bytes, sizes: Sequence[int], sources: Sources) -> StoredTensors:
    """What the store calls. Raises Damaged."""
    return StoredTensors(recipe, sizes, sources)
