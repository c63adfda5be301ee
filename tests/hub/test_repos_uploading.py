"""Bytes that arrived are here for whoever sent them, whichever other uploads of them were begun and left."""

from __future__ import annotations

import hashlib
import json
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from hub.accounts.tokens import create_token
from hub.repos import uploading
from hub.repos.models import Repo
from hub.repos.uploading import usable
from hub.store import blobs, collect, objects
from hub.store.models import Blob, BlobState, Upload
from hub.store.verify import verify
from tests.people import People, make_repo, put

DATA = b"\x89PNG" + b"0123456789" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
PART = 8 * 1024 * 1024
FIRST, LAST = uuid.UUID(int=1), uuid.UUID(int=2**128 - 1)


def begun(people: People, repo: Repo, key: uuid.UUID, **changes: object) -> Upload:
    """An upload of Alice; its key says where it stands among those in no order."""
    fields = {"sha256": SHA256, "size": len(DATA), "expires_at": timezone.now() + timedelta(hours=1)} | changes
    return Upload.objects.create(id=key, account=people.alice, repo_key=repo.pk.hex, **fields)


def in_parts(people: People, repo: Repo, data: bytes) -> Upload:
    upload = blobs.open_upload(
        account=people.alice, repo_key=repo.pk.hex, sha256=hashlib.sha256(data).hexdigest(), size=len(data),
        part_size=PART,
    )  # fmt: skip
    send(objects.presigned_part(upload.key, upload.multipart_id, 1, seconds=60), data[:PART])
    return upload


def send(url: str, data: bytes) -> None:
    urllib.request.urlopen(urllib.request.Request(url, data=data, method="PUT")).close()


@pytest.mark.parametrize(("done", "left"), [(FIRST, LAST), (LAST, FIRST)])
def test_one_that_was_broken_off_hides_no_finished_one(people: People, done: uuid.UUID, left: uuid.UUID) -> None:
    repo = make_repo(people.alice, "x")
    blob = blobs.store_bytes(DATA)
    begun(people, repo, done, finished_at=timezone.now())
    begun(people, repo, left)
    assert usable(people.actor("alice"), repo, SHA256) == blob


@pytest.mark.parametrize(("arrived", "left"), [(FIRST, LAST), (LAST, FIRST)])
def test_nor_one_whose_bytes_arrived(people: People, arrived: uuid.UUID, left: uuid.UUID) -> None:
    repo = make_repo(people.alice, "x")
    objects.put(begun(people, repo, arrived).key, DATA)
    begun(people, repo, left)
    found = usable(people.actor("alice"), repo, SHA256)
    assert found is not None
    assert b"".join(objects.stream(found.key)) == DATA


def test_bytes_that_can_be_read_need_not_arrive(people: People) -> None:
    put(people.alice, make_repo(people.alice, "other"), {"pic.png": DATA})
    repo = make_repo(people.alice, "x")
    begun(people, repo, LAST)
    assert usable(people.actor("alice"), repo, SHA256) == Blob.objects.get()


def test_what_nobody_sent_is_not_here(people: People) -> None:
    repo = make_repo(people.alice, "x")
    begun(people, repo, LAST)
    assert usable(people.actor("alice"), repo, SHA256) is None
    blobs.store_bytes(DATA)
    begun(people, repo, FIRST, finished_at=timezone.now(), expires_at=timezone.now() - timedelta(seconds=1))
    assert usable(people.actor("alice"), repo, SHA256) is None  # it was theirs while the upload lived


def test_what_was_sent_is_not_asked_for_again_and_stays(people: People) -> None:
    """An upload of a folder that broke off before its commit: the second try sends only what is missing."""
    repo, alice = make_repo(people.alice, "x"), people.actor("alice")
    blob = blobs.store_bytes(DATA)
    long_ago = timezone.now() - 2 * timedelta(seconds=settings.LIMITS["collect_grace_seconds"])
    begun(people, repo, FIRST, finished_at=timezone.now())
    announced = {"path": "pic.png", "size": len(DATA), "sha256": SHA256}

    def by_lfs(name: str) -> dict[str, object]:
        token = create_token(account=getattr(people, name), label="x")[1]
        body = {"operation": "upload", "objects": [{"oid": SHA256, "size": len(DATA)}]}
        answer = Client().post(
            f"/{repo.full_name}.git/info/lfs/objects/batch", json.dumps(body), content_type="application/json",
            headers={"Authorization": f"Bearer {token}"},
        )  # fmt: skip
        return dict(answer.json()["objects"][0])

    for ask in (
        lambda: uploading.plan(actor=alice, repo=repo, **announced).present,
        lambda: "actions" not in by_lfs("alice"),
    ):
        Blob.objects.update(unreferenced_since=long_ago)
        Upload.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
        assert ask()
        assert collect.collect().deleted == 0
        assert Upload.objects.get().expires_at > timezone.now() + timedelta(hours=1)
    assert usable(alice, repo, SHA256) == blob
    assert "actions" in by_lfs("charlie")


def test_some_of_the_parts_are_not_the_file(people: People) -> None:
    """Joining what is there would destroy an upload that can go on."""
    repo, data = make_repo(people.alice, "x"), bytes(PART) + b"end"
    upload = in_parts(people, repo, data)
    assert usable(people.actor("alice"), repo, upload.sha256) is None
    assert list(objects.parts_present(upload.key, upload.multipart_id)) == [1]
    with pytest.raises(objects.ObjectMissing, match="1 of 2 parts"):
        blobs.finish_upload(upload)


def test_what_is_collected_while_it_is_hashed_is_not_present(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, data = make_repo(people.alice, "x"), bytes(PART)
    upload = in_parts(people, repo, data)
    stream = objects.stream

    def slowly(key: str) -> Iterator[bytes]:
        yield from stream(key)
        Upload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert collect.collect().uploads_expired == 1

    monkeypatch.setattr(objects, "stream", slowly)
    with pytest.raises(objects.ObjectMissing, match="announce the file again"):
        blobs.finish_upload(upload)
    assert not Blob.objects.filter(state=BlobState.PRESENT).exists()
    assert not verify().missing


def test_a_blob_kept_anew_is_not_collected_by_a_run_that_saw_it_before(people: People) -> None:
    blob = blobs.store_bytes(DATA)
    before = timezone.now() - timedelta(days=1)
    assert blobs.keep(blob.sha256) == blob
    assert not collect._doom(blob.sha256, before)
    Blob.objects.update(unreferenced_since=before - timedelta(days=1))
    assert collect._doom(blob.sha256, before)
    assert blobs.keep(blob.sha256) is None
