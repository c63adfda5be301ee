"""Bytes announced for a repo: where to send them, what has arrived, and which stored bytes an actor may commit."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor
from hub.repos import policy
from hub.repos.models import GitObject, Repo
from hub.rights import Denied, Verb
from hub.store import blobs, objects
from hub.store.models import Blob, Upload


@dataclass(frozen=True)
class Part:
    """One part of a file, numbered from 1; with an `etag` it has arrived."""

    number: int
    url: str
    size: int
    etag: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is left to send: nothing if the bytes are here already."""

    upload: uuid.UUID | None = None
    parts: tuple[Part, ...] = ()

    @property
    def present(self) -> bool:
        return self.upload is None


def plan(*, actor: Actor, repo: Repo, path: str, size: int, sha256: str) -> Plan:
    """Announce a file. Asked again for the same bytes, the same upload goes on.

    Proposing is enough: a change request needs no more. Raises Denied, Refused (path, kind, size), StoreError.
    """
    rights.require(actor, Verb.PROPOSE, repo)
    policy.check_announced(path, size)
    upload = begin(actor=actor, repo=repo, sha256=sha256, size=size, part_size=blobs.part_size(size))
    return Plan(upload.pk, _parts(upload)) if upload else Plan()


def begin(*, actor: Actor, repo: Repo, sha256: str, size: int, part_size: int) -> Upload | None:
    """The upload to send bytes to; None if they are here and this actor may commit them to this repo.

    What is said to be here stays as long as if it had arrived just now. Raises StoreError.
    """
    blob = _stored_for(actor, repo, sha256)
    if blob and blob.size == size and blobs.keep(sha256):
        until = timezone.now() + timedelta(seconds=settings.LIMITS["upload_seconds"])
        _uploads(actor, repo, sha256).exclude(finished_at=None).update(expires_at=until)
        return None
    assert actor.account is not None
    return blobs.open_upload(account=actor.account, repo_key=repo.pk.hex, sha256=sha256, size=size, part_size=part_size)


def finish(*, actor: Actor, repo: Repo, key: uuid.UUID, etags: list[str]) -> Blob:
    """Read what arrived and keep it if it is what was announced. Parts are asked of the store if an etag is unknown.

    Raises Denied (not the actor's upload for this repo, or over), WrongBytes, ObjectMissing, StoreError.
    """
    mine = Upload.objects.filter(account=actor.account, repo_key=repo.pk.hex, expires_at__gt=timezone.now())
    upload = mine.filter(pk=key).first()
    if upload is None:
        raise Denied("This upload is over, or not yours; announce the file again.")
    cleaned = {number: etag.strip('"') for number, etag in enumerate(etags, 1)}
    known = len(cleaned) == upload.parts and all(etag and etag != "unnamed" for etag in cleaned.values())
    return blobs.finish_upload(upload, cleaned if known else None)


def usable(actor: Actor, repo: Repo, sha256: str) -> Blob | None:
    """The blob, if the actor uploaded it for this repo or may read a repo that has it.

    An upload that arrived but was not verified yet is finished here. Raises WrongBytes, StoreError.
    """
    blob = _stored_for(actor, repo, sha256)
    if blob is not None:
        return blob
    for upload in _uploads(actor, repo, sha256).filter(finished_at=None).order_by("-created_at"):
        with suppress(objects.ObjectMissing):  # begun and broken off
            return blobs.finish_upload(upload)
    return None


def _stored_for(actor: Actor, repo: Repo, sha256: str) -> Blob | None:
    """The blob, if nothing is left to do before this actor may commit it to this repo."""
    sent = _uploads(actor, repo, sha256).exclude(finished_at=None)
    return blobs.present(sha256) if sent.exists() or is_readable(actor, sha256) else None


def _uploads(actor: Actor, repo: Repo, sha256: str) -> QuerySet[Upload]:
    """The actor's uploads of these bytes for this repo that are not over."""
    return Upload.objects.filter(
        account=actor.account, repo_key=repo.pk.hex, sha256=sha256, expires_at__gt=timezone.now()
    )


def is_readable(actor: Actor, sha256: str) -> bool:
    """Does a repo that the actor may read have these bytes? Anything more would tell what private repos hold."""
    return GitObject.objects.filter(large_id=sha256, repo__in=Repo.objects.visible_to(actor)).exists()


def _parts(upload: Upload) -> tuple[Part, ...]:
    seconds = settings.LIMITS["upload_seconds"]
    if not upload.part_size:
        url = objects.presigned_put(upload.key, size=upload.size, seconds=seconds)
        return (Part(1, url, upload.size),)
    arrived = _arrived(upload)
    return tuple(
        Part(
            number,
            objects.presigned_part(upload.key, upload.multipart_id, number, seconds=seconds),
            min(upload.part_size, upload.size - (number - 1) * upload.part_size),
            arrived.get(number),
        )
        for number in range(1, upload.parts + 1)
    )


def _arrived(upload: Upload) -> dict[int, str]:
    """Part number → etag. Parts that were joined already have all arrived; only their hash is still to be checked."""
    try:
        return objects.parts_present(upload.key, upload.multipart_id)
    except objects.ObjectMissing:
        return dict.fromkeys(range(1, upload.parts + 1), "joined")
