"""Two-phase removal of blobs and xorbs that nothing refers to. Never deletes what something in use or in flight needs.

Phase one marks a blob with the time it was first seen unreferenced. Phase two, a grace period later, dooms it under a
row lock if it is still unreferenced and no open upload names it; only then are its bytes deleted, and last its row.
Referring to a blob clears the mark in the referring transaction (`hub.repos.commits._refer`).

A xorb goes when no file has a term in it and no claim on it lives: clients refer for weeks to what they have sent.
Objects of whole files that are now kept in chunks, and chunks of files that are now predicted, go when no address that
was given out for them can be alive. A blob that explains another stays as long as that one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub.store import arrived, objects, predicted
from hub.store.models import Blob, BlobState, Prediction, Term, Upload, Xorb, XorbClaim

Reference = Callable[[], "QuerySet[Any, str]"]
_references: list[Reference] = []


def register_reference(reference: Reference) -> None:
    """Tell the collector about rows that refer to blobs: a function that returns a queryset of sha256 values."""
    _references.append(reference)


@dataclass
class Collected:
    """What one run did."""

    marked: int = 0
    deleted: int = 0
    bytes_freed: int = 0
    uploads_expired: int = 0
    xorbs_deleted: int = 0
    wholes_dropped: int = 0


def unreferenced() -> "QuerySet[Blob]":
    """Blobs that no registered row refers to."""
    blobs = Blob.objects.all()
    for reference in _references:
        blobs = blobs.exclude(pk__in=reference())
    return blobs


def collect() -> Collected:
    """One run of both phases and of expired uploads. Safe beside anything else, and beside itself."""
    done, now = Collected(), timezone.now()
    grace = timedelta(seconds=settings.LIMITS["collect_grace_seconds"])
    done.marked = unreferenced().filter(unreferenced_since=None).update(unreferenced_since=now)
    for sha256 in list(unreferenced().filter(unreferenced_since__lt=now - grace).values_list("pk", flat=True)):
        if _doom(sha256, now - grace):
            done.deleted += 1
    for blob in Blob.objects.filter(state=BlobState.DOOMED):
        objects.delete(blob.key)
        predicted.withdraw(Prediction.objects.filter(blob=blob))
        done.bytes_freed += blob.size if blob.whole else 0
        Blob.objects.filter(pk=blob.pk, state=BlobState.DOOMED).delete()
    for upload in Upload.objects.filter(expires_at__lt=now):
        done.uploads_expired += _forget(upload, now)
    _drop_chunks(now)
    _collect_xorbs(done, now)
    _drop_wholes(done, now)
    stale = now - timedelta(seconds=settings.LIMITS["upload_seconds"])
    predicted.withdraw(Prediction.objects.filter(state=BlobState.PENDING, created_at__lt=stale))
    predicted.withdraw(Prediction.objects.filter(state=BlobState.DOOMED, created_at__lt=_dead(now)))
    arrived.tidy()
    return done


def _collect_xorbs(done: Collected, now: datetime) -> None:
    """Doom xorbs without terms and claims under their lock, then remove object and row."""
    XorbClaim.objects.filter(expires_at__lt=now).delete()
    young = now - timedelta(seconds=settings.LIMITS["upload_seconds"])  # a job may be filling it at this moment
    loose = Xorb.objects.filter(terms=None, claims=None, created_at__lt=young)
    for key in list(loose.values_list("pk", flat=True)):
        with transaction.atomic():
            locked = Xorb.objects.select_for_update(skip_locked=True).filter(pk=key).first()
            if locked is not None and loose.filter(pk=key).exists():
                Xorb.objects.filter(pk=key).update(state=BlobState.DOOMED)
    for xorb in Xorb.objects.defer("table").filter(state=BlobState.DOOMED):
        objects.delete(xorb.key)
        Xorb.objects.filter(pk=xorb.pk, state=BlobState.DOOMED).delete()
        done.xorbs_deleted += 1
        done.bytes_freed += xorb.size


def _drop_chunks(now: datetime) -> None:
    """Forget the chunks of predicted files; twice the life of an address after nobody is sent to them any more."""
    Blob.objects.filter(predicted=True, chunks_dropped_at=None).exclude(xet_hash="").update(chunks_dropped_at=now)
    for blob in Blob.objects.filter(predicted=True, chunks_dropped_at__lt=_dead(now)):
        with transaction.atomic():
            Term.objects.filter(blob=blob).delete()
            Blob.objects.filter(pk=blob.pk, predicted=True).update(xet_hash="", chunks_dropped_at=None)


def _dead(now: datetime) -> datetime:
    """Addresses given out before then are over."""
    return now - 2 * timedelta(seconds=settings.LIMITS["presigned_seconds"])


def _drop_wholes(done: Collected, now: datetime) -> None:
    """Remove objects of files whose other form was verified; twice the life of an address has passed since.

    Files that are no longer downloaded by many stop being whole first.
    """
    Blob.objects.filter(whole=True, hot_until__lt=now).exclude(xet_hash="", predicted=False).update(
        whole=False, hot_until=None, dropped_at=now
    )
    dead = _dead(now)
    for blob in Blob.objects.filter(whole=False, dropped_at__lt=dead, state=BlobState.PRESENT):
        if Blob.objects.filter(pk=blob.pk, whole=False, dropped_at__lt=dead).update(dropped_at=None):
            objects.delete(blob.key)
            done.wholes_dropped += 1
            done.bytes_freed += blob.size


def _doom(sha256: str, before: datetime) -> bool:
    """Under the row's lock: unreferenced since `before`, and nobody is sending it? Then nobody can refer to it more."""
    with transaction.atomic():
        blob = Blob.objects.select_for_update(skip_locked=True).filter(pk=sha256, unreferenced_since__lt=before).first()
        if blob is None or not unreferenced().filter(pk=sha256).exists():
            return False
        if Upload.objects.filter(sha256=sha256, finished_at=None, expires_at__gt=timezone.now()).exists():
            return False
        blob.state = BlobState.DOOMED
        blob.save(update_fields=["state"])
    return True


def _forget(upload: Upload, now: datetime) -> bool:
    """Remove an upload that is over, unless it is being finished or was prolonged at this moment."""
    with transaction.atomic():
        row = Upload.objects.select_for_update(skip_locked=True).filter(pk=upload.pk, expires_at__lt=now).first()
        if row is None:
            return False
        if row.multipart_id and not row.finished_at:
            objects.abort_multipart(row.key, row.multipart_id)
        if not Blob.objects.filter(location=row.key).exists():
            objects.delete(row.key)
        row.delete()
    return True
