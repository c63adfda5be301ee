"""Files that follow from other files: keeping their payload, and rebuilding any range as a checked stream.

How they follow is not known here: a room above registers a decoder. Order (a crash at any point loses nothing):
row `pending`, with its inputs, which thereby stay → payload at its key → rebuilt once from what is stored, sha256
compared → row `present` and the blob `predicted`, in one transaction; only then may the other copies go.
Inputs may be predicted themselves, three deep at most, and never in a circle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import IO, Protocol
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from hub.store import objects
from hub.store.ahead import Ahead
from hub.store.chunked import Damaged
from hub.store.models import Blob, BlobState, Prediction, PredictionInput, Xorb
from hub.store.xorbs import table_of
from hub.xet import planning

MOST_LEVELS = 3
_LOCK = 0x7E55E4A1
_SMALL = 4 << 20


class CannotPredict(Exception):
    """This blob may not be stored so: an input went away, or the chain would be too long."""


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


def propose(
    blob: Blob, decoder: str, recipe: bytes, inputs: Sequence[str], payload: IO[bytes], size: int
) -> Prediction:
    """Keep a recipe and its payload beside what is stored already; an unfinished one of the same blob goes first.

    Raises CannotPredict, StoreError.
    """
    withdraw(Prediction.objects.filter(blob=blob, state=BlobState.PENDING))
    with transaction.atomic():
        _lock_graph()
        known = Blob.objects.select_for_update().filter(pk__in={blob.pk, *inputs}).order_by("pk")
        there = {row.pk for row in known if row.state == BlobState.PRESENT}
        if not set(inputs) <= there or Prediction.objects.filter(blob=blob).exists():
            raise CannotPredict("An input is no longer stored, or the file is stored so already.")
        if blob.pk in _all_below(inputs) or levels_below(inputs) + 1 + _levels_above(blob.pk) > MOST_LEVELS:
            raise CannotPredict("Its inputs are too far from what is stored as it is.")
        row = Prediction.objects.create(blob=blob, decoder=decoder, recipe=recipe, size=size)
        PredictionInput.objects.bulk_create(
            [PredictionInput(prediction=row, number=number, blob_id=pk) for number, pk in enumerate(inputs)]
        )
        Blob.objects.filter(pk__in=set(inputs)).update(unreferenced_since=None)
    if size:
        payload.seek(0)
        objects.put_large(row.key, payload)
        if not Prediction.objects.filter(pk=row.pk).exists():
            objects.delete(row.key)
            raise CannotPredict("Somebody else is storing this file at this moment.")
    return row


def confirm(prediction: Prediction) -> bool:
    """Trust a prediction from now on, and begin to let the other copies go; False if it was withdrawn meanwhile.

    Call in a transaction, after `rebuilt`. Copies that addresses may lead to stay for a while: see `collect`.
    """
    rows = Prediction.objects.filter(pk=prediction.pk, state=BlobState.PENDING)
    if not rows.update(state=BlobState.PRESENT):
        return False
    blob, now = Blob.objects.filter(pk=prediction.blob_id), timezone.now()
    blob.update(predicted=True)
    blob.filter(whole=True, hot_until=None).update(whole=False, dropped_at=now)
    blob.filter(state=BlobState.PENDING).update(state=BlobState.PRESENT)
    blob.filter(chunks_dropped_at=None).exclude(xet_hash="").update(chunks_dropped_at=now)
    return True


def rebuilt(prediction: Prediction, progress: Callable[[int], None] = lambda done: None) -> str:
    """The sha256 of the file as it is rebuilt from what is stored. Raises Damaged, StoreError, what `progress` does."""
    digest, done = hashlib.sha256(), 0
    for piece in _stream(prediction, 0, prediction.blob.size):
        digest.update(piece)
        done += len(piece)
        progress(done)
    return digest.hexdigest()


def withdraw(rows: Iterable[Prediction]) -> None:
    """Forget predictions that no blob needs: first the payload, then the row."""
    for row in rows:
        if row.size:
            objects.delete(row.key)
        row.delete()


def stream(blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Bytes `start` to `end` (exclusive) of a predicted file, in bounded memory. Raises Damaged, StoreError."""
    last = blob.size if end is None else min(end, blob.size)
    if start < last:
        row = Prediction.objects.select_related("blob").filter(blob=blob, state=BlobState.PRESENT).first()
        if row is None:
            raise objects.ObjectMissing("This file is not stored.")
        yield from _stream(row, start, last)


def levels_below(keys: Iterable[str]) -> int:
    """How many predictions one must go through, at most, to read one of these blobs."""
    front, levels = set(keys), 0
    while True:
        rows = PredictionInput.objects.filter(prediction__blob__in=front).values_list("blob_id", flat=True)
        predicted = Prediction.objects.filter(blob__in=front).exists()
        if not predicted:
            return levels
        front, levels = set(rows), levels + 1


def own_bytes(blob: Blob) -> int:
    """Bytes in the store that would be free without this blob, as far as it is whole or in chunks of its own."""
    own = blob.size if blob.whole else 0
    mine: dict[int, list[tuple[int, int]]] = {}
    for xorb, first, last in blob.terms.values_list("xorb_id", "start", "end"):
        mine.setdefault(xorb, []).append((first, last))
    for key, pairs in mine.items():
        rows = Xorb.objects.get(pk=key).terms.exclude(blob=blob).values_list("start", "end").distinct()
        others = planning.join(list(rows))
        table = table_of(key)
        for first, last in planning.join(pairs):
            alone = [number for number in range(first, last) if not planning.covers(others, number, number + 1)]
            for low, high in planning.join([(number, number + 1) for number in alone]):
                begin, end = table.body_range(low, high)
                own += end - begin
    return own


def _stream(row: Prediction, start: int, end: int) -> Iterator[bytes]:
    inputs = [one.blob for one in row.inputs.select_related("blob")]
    sources = _Stored(row, inputs)
    try:
        decoder = _decoder(row.pk, row.decoder, tuple(blob.size for blob in inputs), sources)
        yield from decoder.stream(sources, start, end)
    finally:
        sources.close()


def _opened(blob: Blob, start: int, end: int) -> Iterator[bytes]:
    from hub.store import blobs

    return blobs.stream(blob, start, end)


class _Stored:
    """Inputs and payload in the store. They are read ahead, since files are mostly read from begin to end."""

    def __init__(self, row: Prediction, inputs: Sequence[Blob]) -> None:
        self._payload = Ahead(lambda start, end: objects.stream(row.key, start, end), row.size)
        self._inputs = [Ahead(partial(_opened, blob), blob.size, _SMALL) for blob in inputs]

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
        raise objects.StoreError("The object store does not answer; try again in a minute.") from error


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


def _lock_graph() -> None:
    """One at a time adds edges, so that no two make a circle together."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _all_below(keys: Iterable[str]) -> set[str]:
    found, front = set(keys), set(keys)
    while front:
        rows = PredictionInput.objects.filter(prediction__blob__in=front).values_list("blob_id", flat=True)
        front = set(rows) - found
        found |= front
    return found


def _levels_above(key: str) -> int:
    front, levels = {key}, 0
    while True:
        front = set(PredictionInput.objects.filter(blob__in=front).values_list("prediction__blob_id", flat=True))
        if not front:
            return levels
        levels += 1
