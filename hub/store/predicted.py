"""Files that follow from other files: keeping their recipe and payload, and trusting them once they were rebuilt.

How they are read is in `rebuilding`. Order (a crash at any point loses nothing):
row `pending`, with its inputs, which thereby stay → payload at its key → rebuilt once from what is stored, sha256
compared → row `present` and the blob `predicted`, in one transaction; only then may the other copies go.
Inputs may be predicted themselves, three deep at most, and never in a circle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import IO

from django.db import connection, transaction
from django.utils import timezone

from hub.store import objects, reading, rebuilding
from hub.store.models import Blob, BlobState, Prediction, PredictionInput, Xorb
from hub.store.xorbs import table_of
from hub.xet import planning

MOST_LEVELS = 3
_LOCK = 0x7E55E4A1


class CannotPredict(Exception):
    """This blob may not be stored so: an input went away, or the chain would be too long."""


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
    for piece in rebuilding.stream(prediction, 0, prediction.blob.size, reading.stream):
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
