"""Files in chunks, or predicted, that many fetch by plain HTTP get a whole object for a while: a redirect is free.

Every whole download is counted; at the limit a job rebuilds the file once, checks its sha256, and stores it beside the
other form. The collection stops using it when its time is over.
"""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.store import objects, reading
from hub.store.models import Blob, BlobState

KIND = "keep_whole"
COUNTED_SECONDS = 3600
KEPT = timedelta(days=7)


def count(blob: Blob) -> None:
    """One more plain download of a file in chunks; at the limit it is put together, once in a while."""
    key = f"plain-downloads:{blob.sha256}"
    cache.add(key, 0, COUNTED_SECONDS)
    try:
        seen = cache.incr(key)
    except ValueError:  # it went between the two
        return
    if seen == settings.LIMITS["hot_downloads"]:
        period = timezone.now().date() - timezone.now().date().replace(day=1)
        name = f"{KIND}:{blob.sha256}:{timezone.now():%Y-%m}:{period.days // KEPT.days}"
        enqueue(KIND, title="Keep a file whole that many download", arguments={"sha256": blob.sha256}, key=name)


def run(running: Running) -> dict[str, Any]:
    """The job: rebuild, compare, store; only then redirect to it."""
    blob = Blob.objects.filter(pk=running.arguments["sha256"], state=BlobState.PRESENT, whole=False).first()
    return {"skipped": True} if blob is None else make_whole(running, blob, timezone.now() + KEPT)


def make_whole(running: Running, blob: Blob, until: datetime | None) -> dict[str, Any]:
    """Store the whole object of a file beside its other form, until then or for good. Raises JobFailed, StoreError."""
    rows = Blob.objects.filter(pk=blob.pk, state=BlobState.PRESENT, whole=False)
    alive = timezone.now() - timedelta(seconds=settings.LIMITS["presigned_seconds"])
    if rows.filter(dropped_at__gt=alive).update(whole=True, dropped_at=None, hot_until=until):
        return {"revived": True}  # the object is still there
    if not rows.filter(dropped_at=None).update(location=f"blobs/kept/{uuid.uuid4()}"):
        raise JobFailed("The old object of this file is just being removed; the next download counts again.")
    blob.refresh_from_db()
    digest, done = hashlib.sha256(), 0
    with tempfile.TemporaryFile(prefix="tessera-whole-") as body:
        for piece in reading.stream(blob):
            digest.update(piece)
            done += body.write(piece)
            running.progress(done, blob.size, "Rebuilding")
        if digest.hexdigest() != blob.sha256:
            raise JobFailed("The rebuilt file differs from what it was; run check_store.")
        body.seek(0)
        objects.put_large(blob.key, body)
    with running.adopt():
        rows.filter(location=blob.location).update(whole=True, dropped_at=None, hot_until=until)
    return {"bytes": blob.size}
