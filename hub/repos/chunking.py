"""Large files that arrived whole (by LFS, in a commit's body, from a merge) are cut into chunks by a job.

The whole object stays until the file was rebuilt from its chunks and had the same sha256. A crash leaves xorbs that
nothing refers to, which the collection removes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from hub.accounts.actor import NOBODY
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos.chunked_uploads import ranges_within
from hub.repos.models import Commit, GitObject, Ref, Repo
from hub.store import chunked
from hub.store.cutting import MayUse, store_chunks
from hub.store.models import Blob, BlobState, Term
from hub.xet import planning

KIND = "cut_into_chunks"


def queue(blob: Blob, repo: Repo | None = None) -> None:
    """Queue the cutting of a file, once."""
    title = f"Store a file of {repo.full_name} in chunks" if repo else "Store a file in chunks"
    enqueue(KIND, title=title, arguments={"sha256": blob.sha256}, repo=repo, key=f"{KIND}:{blob.sha256}")


def after_commit(repo: Repo, commit: Commit, ref: Ref) -> None:
    """Queue the cutting of what a commit brought; the same bytes are cut once."""
    if not settings.XET:
        return
    large = Blob.objects.filter(git_objects__repo=repo, whole=True, size__gt=settings.LIMITS["whole_bytes"])
    for blob in large.distinct():
        queue(blob, repo)


def run(running: Running) -> dict[str, Any]:
    """The job: cut, store, rebuild, compare; only then stop using the whole object."""
    blob = Blob.objects.filter(pk=running.arguments["sha256"], state=BlobState.PRESENT).first()
    if blob is None or not blob.whole:
        return {"skipped": True}
    work = 2 * blob.size
    if not blob.xet_hash:
        terms, text = store_chunks(blob, may_use(blob), lambda done: running.progress(done, work, "Cutting"))
        with running.adopt():
            chunked.write_terms(blob, terms, text)
    digest, done = hashlib.sha256(), blob.size
    for piece in chunked.stream(blob):
        digest.update(piece)
        done += len(piece)
        running.progress(done, work, "Rebuilding")
    if digest.hexdigest() != blob.sha256:
        _forget_chunks(blob)
        raise JobFailed("The file rebuilt from its chunks differs. It stays stored whole; nothing was lost.")
    with running.adopt():
        Blob.objects.filter(pk=blob.pk, whole=True).exclude(xet_hash="").update(whole=False, dropped_at=timezone.now())
    return {"bytes": blob.size, "terms": Term.objects.filter(blob=blob).count()}


def may_use(blob: Blob) -> MayUse:
    """A file refers to chunks of public files, and of files of the same owners: nobody learns of what others hide."""
    owners = GitObject.objects.filter(large=blob).values("repo__owner")
    shown = Q(repo__in=Repo.objects.visible_to(NOBODY)) | Q(repo__owner__in=owners)
    readable = GitObject.objects.filter(shown, large__isnull=False).values("large_id")
    known: dict[int, list[tuple[int, int]]] = defaultdict(list)
    asked: set[int] = set()

    def allowed(key: int, number: int) -> bool:
        if key not in asked:
            asked.add(key)
            known.update(ranges_within([key], readable))
        return planning.covers(known[key], number, number + 1)

    return allowed


def _forget_chunks(blob: Blob) -> None:
    with transaction.atomic():
        Term.objects.filter(blob=blob).delete()
        Blob.objects.filter(pk=blob.pk, whole=True).update(xet_hash="")
