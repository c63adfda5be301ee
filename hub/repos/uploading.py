"""Bytes announced for a repo: where to send them, what has arrived, and which stored bytes an actor may commit."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.conf import settings
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
    blob = blobs.present(sha256)
    if blob and blob.size == size and is_readable(actor, sha256):
        return Plan()
    assert actor.account is not None
    upload = blobs.open_upload(
        account=actor.account, repo_key=repo.pk.hex, sha256=sha256, size=size, part_size=blobs.part_size(size)
    )
    return Plan(upload.pk, _parts(upload))


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
    upload = Upload.objects.filter(account=actor.account, repo_key=repo.pk.hex, sha256=sha256).last()
    if upload is not None:
        return blobs.finish_upload(upload)
    return blobs.present(sha256) if is_readable(actor, sha256) else None


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
