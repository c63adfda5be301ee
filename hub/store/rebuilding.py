"""Rebuilding files that follow from other files: any range as a stream, read from inputs and payload in the store.

How they follow is not known here: a room above registers a decoder. How an input is stored is not known either: it may
follow from others itself, so whoever asks says how files are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Protocol
from uuid import UUID

from hub.store import objects
from hub.store.ahead import Ahead
from hub.store.chunked import Damaged
from hub.store.models import Blob, Prediction

Opened = Callable[[Blob, int, int], Iterator[bytes]]
"""Bytes `start` to `end` (exclusive) of a file, however it is stored."""

_SMALL = 4 << 20


class Sources(Protocol):
    """What a decoder reads from. Raises Damaged for a range that is not there."""

    def input(self, number: int, start: int, end: int) -> bytes:
        """Bytes of one input."""

    def payload(self, start: int, end: int) -> bytes:
        """Bytes of the payload."""


class Decoder(Protocol):
    """A recipe made ready; it holds no source, so that one serves many reads."""

    def stream(self, sources: Sources, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive) of the file. Raises Damaged, StoreError."""


MakeDecoder = Callable[[bytes, Sequence[int], Sources], Decoder]
_decoders: dict[str, str] = {}


def register_decoder(name: str, place: str) -> None:
    """Tell how recipes of a kind are read: `package.module:function` (recipe, sizes of the inputs, sources) → Decoder.

    The function raises Damaged for recipes that cannot be true.
    """
    _decoders[name] = place


def stream(row: Prediction, start: int, end: int, opened: Opened) -> Iterator[bytes]:
    """Bytes `start` to `end` (exclusive) of the file that a prediction stands for, in bounded memory.

    Raises Damaged, StoreError.
    """
    inputs = [one.blob for one in row.inputs.select_related("blob")]
    sources = _Stored(row, inputs, opened)
    try:
        decoder = _decoder(row.pk, row.decoder, tuple(blob.size for blob in inputs), sources)
        yield from decoder.stream(sources, start, end)
    finally:
        sources.close()


class _Stored:
    """Inputs and payload in the store. They are read ahead, since files are mostly read from begin to end."""

    def __init__(self, row: Prediction, inputs: Sequence[Blob], opened: Opened) -> None:
        self._payload = Ahead(lambda start, end: objects.stream(row.key, start, end), row.size)
        self._inputs = [Ahead(partial(opened, blob), blob.size, _SMALL) for blob in inputs]

    def input(self, number: int, start: int, end: int) -> bytes:
        with _nameless():
            return self._inputs[number].read(start, end)

    def payload(self, start: int, end: int) -> bytes:
        with _nameless():
            return self._payload.read(start, end)

    def close(self) -> None:
        for one in (self._payload, *self._inputs):
            one.close()


@contextmanager
def _nameless() -> Iterator[None]:
    """Errors that do not say which input is missing: whoever reads the file need not know what explains it."""
    try:
        yield
    except (objects.ObjectMissing, Damaged) as error:
        raise Damaged("A stored file cannot be rebuilt as it was; run check_store.") from error
    except objects.StoreError as error:
        raise objects.StoreError(objects.AWAY) from error


_ready: dict[UUID, Decoder] = {}
"""Decoders of a few recipes, by the prediction's id: a recipe never changes."""

_MOST_READY = 32


def _decoder(key: UUID, name: str, sizes: tuple[int, ...], sources: Sources) -> Decoder:
    found = _ready.get(key)
    if found is None:
        place = _decoders.get(name)
        if place is None:
            raise Damaged("This hub does not know how a file is stored; it was written by a newer one.")
        module, _, function = place.partition(":")
        make: MakeDecoder = getattr(import_module(module), function)
        recipe = Prediction.objects.values_list("recipe", flat=True).get(pk=key)
        found = make(bytes(recipe), sizes, sources)
        for old in list(_ready)[: max(0, len(_ready) + 1 - _MOST_READY)]:
            _ready.pop(old, None)
        _ready[key] = found
    return found
