"""Bytes become a blob only after the server hashed them; nothing in use is ever collected."""

import contextlib
import hashlib
import threading
import urllib.error
import urllib.request
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from hub.store import blobs, objects
from hub.store.collect import collect
from hub.store.models import Blob, Upload
from hub.store.verify import verify
from tests.people import People, make_repo, put

DATA = b"\x89PNG" + b"0123456789" * 1000


def send(url: str, data: bytes) -> str:
    request = urllib.request.Request(url, data=data, method="PUT")
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["ETag"]).strip('"')


def announce(people: People, data: bytes, part_size: int = 0, **changes: object) -> Upload:
    fields = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} | changes
    return blobs.open_upload(account=people.alice, repo_key="r", part_size=part_size, **fields)  # type: ignore[arg-type]


def test_one_put(people: People) -> None:
    upload = announce(people, DATA)
    send(objects.presigned_put(upload.key, size=len(DATA), seconds=60), DATA)
    blob = blobs.finish_upload(upload)
    upload.refresh_from_db()
    assert blobs.finish_upload(upload) == blob  # a lost answer: asked again
    assert b"".join(objects.stream(blob.key)) == DATA
    with pytest.raises(objects.ObjectMissing):
        objects.head(upload.key)


@pytest.mark.parametrize(("origin", "let_in"), [
    ("http://127.0.0.1:8000", True), ("http://localhost:8000", True), ("http://localhost:9000", False),
    ("http://any.example.org:8000", False),
])  # fmt: skip
def test_a_page_sends_parts_from_every_address_of_the_hub(
    people: People, settings: Any, origin: str, let_in: bool
) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost", ".example.org"]
    objects.ensure_bucket()
    url = objects.presigned_put(announce(people, DATA).key, size=len(DATA), seconds=60)
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="OPTIONS", headers=asked)) as answer:
            named = answer.headers["Access-Control-Allow-Origin"]
    except urllib.error.HTTPError as error:
        named = error.headers["Access-Control-Allow-Origin"]
    assert (named == origin) is let_in


@pytest.mark.parametrize(("status", "told"), [
    (503, "The object store does not answer; try again in a minute."),
    (403, "The object store refused blobs/k: AccessDenied."),
])  # fmt: skip
def test_a_store_that_fails_is_away_and_one_that_refuses_says_what(status: int, told: str, settings: Any) -> None:
    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.S3_ENDPOINT_URL = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(objects.StoreError) as raised:
            objects.read_range("blobs/k", 0, 4)
        server.shutdown()
    assert str(raised.value) == told


def test_the_signed_length_holds(people: People) -> None:
    upload = announce(people, DATA)
    with pytest.raises(urllib.error.HTTPError):
        send(objects.presigned_put(upload.key, size=len(DATA), seconds=60), DATA + b"more")


def test_wrong_bytes_are_not_kept(people: People) -> None:
    upload = announce(people, DATA, sha256="0" * 64)
    send(objects.presigned_put(upload.key, size=len(DATA), seconds=60), DATA)
    with pytest.raises(blobs.WrongBytes, match="Nothing was stored"):
        blobs.finish_upload(upload)
    assert not Blob.objects.exists()
    assert not Upload.objects.exists()


def test_nothing_arrived(people: People) -> None:
    with pytest.raises(objects.ObjectMissing):
        blobs.finish_upload(announce(people, DATA))


def test_parts_can_be_resumed(people: People) -> None:
    data = bytes(range(256)) * 4096 * 11  # 11 MiB; S3 wants parts of 5 MiB at least
    part = 5 * 1024 * 1024
    upload = announce(people, data, part_size=part)
    assert upload.parts == 3
    for number in (1, 3):
        url = objects.presigned_part(upload.key, upload.multipart_id, number, seconds=60)
        send(url, data[(number - 1) * part : number * part])
    assert announce(people, data, part_size=part) == upload
    assert sorted(objects.parts_present(upload.key, upload.multipart_id)) == [1, 3]
    send(objects.presigned_part(upload.key, upload.multipart_id, 2, seconds=60), data[part : 2 * part])
    blob = blobs.finish_upload(upload)
    assert (blob.size, blob.key) == (len(data), upload.key)  # joined parts stay where they arrived
    assert blobs.finish_upload(upload) == blob
    assert not verify(hashes=True).missing + verify(hashes=True).wrong_hash
    Upload.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert collect().uploads_expired == 1
    assert b"".join(objects.stream(blob.key)) == data
    again = announce(people, data, part_size=2 * part)
    for number in (1, 2):
        url = objects.presigned_part(again.key, again.multipart_id, number, seconds=60)
        send(url, data[(number - 1) * 2 * part : number * 2 * part])
    assert blobs.finish_upload(again).key == blob.key  # the first copy counts
    with pytest.raises(objects.ObjectMissing):
        objects.head(again.key)
    assert blobs.store_bytes(data).key == blob.key
    assert not verify(hashes=True).missing + verify(hashes=True).wrong_hash


def test_joined_parts_cannot_be_changed(people: People) -> None:
    data = bytes(6 * 1024 * 1024)
    upload = announce(people, data, part_size=8 * 1024 * 1024)
    url = objects.presigned_part(upload.key, upload.multipart_id, 1, seconds=60)
    send(url, data)
    blob = blobs.finish_upload(upload)
    with contextlib.suppress(Exception):
        send(url, b"other bytes")
    assert b"".join(objects.stream(blob.key)) == data


def test_wrong_parts_are_not_kept(people: People) -> None:
    upload = announce(people, bytes(6 * 1024 * 1024), part_size=8 * 1024 * 1024)
    send(objects.presigned_part(upload.key, upload.multipart_id, 1, seconds=60), b"something else")
    with pytest.raises(blobs.WrongBytes):
        blobs.finish_upload(upload)
    assert not Blob.objects.exists()
    with pytest.raises(objects.ObjectMissing):
        objects.head(upload.key)


def test_a_local_file_goes_in_and_comes_out(people: People, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    blob = blobs.store_file(tmp_path / "in")
    blobs.download(blob, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA


def test_collection_takes_only_what_nobody_needs(people: People, settings: object) -> None:
    used = put(people.alice, make_repo(people.alice, "x"), {"pic.png": DATA})
    loose = blobs.store_bytes(b"loose")
    sent = blobs.store_bytes(b"being sent")
    assert collect().deleted == 0  # only marked: the grace period runs
    Blob.objects.filter(unreferenced_since__isnull=False).update(unreferenced_since=timezone.now() - timedelta(days=30))
    announce(people, b"being sent")
    assert collect().deleted == 1
    assert not Blob.objects.filter(pk=loose.pk).exists()
    with pytest.raises(objects.ObjectMissing):
        objects.head(loose.key)
    assert Blob.objects.filter(pk=sent.pk).exists()
    assert used.sha
    assert Blob.objects.filter(git_objects__isnull=False).count() == 1
    assert not verify(hashes=True).missing


def test_referring_clears_the_mark(people: People) -> None:
    blob = blobs.store_bytes(DATA)
    Blob.objects.filter(pk=blob.pk).update(unreferenced_since=timezone.now() - timedelta(days=30))
    put(people.alice, make_repo(people.alice, "x"), {"pic.png": DATA})
    assert collect().deleted == 0
    blob.refresh_from_db()
    assert blob.unreferenced_since is None


def test_a_file_missing_in_the_store_is_reported(people: People) -> None:
    blob = blobs.store_bytes(DATA)
    objects.delete(blob.key)
    assert verify().missing == [blob.sha256]
