"""What is deleted goes, even if it explains how others are stored: those are stored plainly first.

A blob that no repo has any more, but that a predicted file of some repo follows from, is found by the sweep; a job
stores that file whole again, and the collection then removes prediction and input.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils import timezone

from hub.jobs.queue import enqueue
from hub.jobs.running import Running
from hub.repos import chunking, hot
from hub.repos.models import GitObject
from hub.store.models import Blob, BlobState, Prediction

KIND = "store_plainly"


def sweep() -> int:
    """Queue files that follow from what no repo has any more; how many."""
    held = GitObject.objects.filter(large__isnull=False).values("large_id")
    needless = Blob.objects.filter(explains__isnull=False).exclude(pk__in=held)
    rows = Prediction.objects.filter(state=BlobState.PRESENT, blob__in=held, inputs__blob__in=needless).distinct()
    found = list(rows.values_list("pk", "blob_id"))
    for key, sha256 in found:
        enqueue(KIND, title="Store a file by itself again", arguments={"sha256": sha256}, key=f"{KIND}:{key}")
    return len(found)


def run(running: Running) -> dict[str, Any]:
    """The job: make the file whole, and need its inputs no more."""
    blob = Blob.objects.filter(pk=running.arguments["sha256"], state=BlobState.PRESENT, predicted=True).first()
    if blob is None:
        return {"skipped": True}
    if not blob.whole:
        hot.make_whole(running, blob, None)
    with running.adopt():
        Blob.objects.filter(pk=blob.pk, whole=True).update(hot_until=None, predicted=False)
        Prediction.objects.filter(blob=blob, state=BlobState.PRESENT).update(
            state=BlobState.DOOMED, created_at=timezone.now()
        )
        if settings.XET and blob.size > settings.LIMITS["whole_bytes"]:
            chunking.queue(blob)
    return {"bytes": blob.size}
