"""The chunk store over its routes: who may send, refer and read what, and what happens to bytes that lie."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from django.test import Client
from django.utils import timezone

from hub.accounts.models import Token
from hub.accounts.tokens import create_token, revoke_token
from hub.repos.models import Repo
from hub.store import objects
from hub.store.collect import collect
from hub.store.models import Blob, Term, Upload, Xorb, XorbChunk, XorbClaim
from hub.store.verify import verify
from hub.xet import shards
from tests.hub.xet_support import Ask, Cas, asking, chunk, put_stored, read
from tests.people import People, make_repo
from tests.xet_files import Sent, make_file, refer

pytestmark = pytest.mark.django_db
DATA = random.Random(1).randbytes(600_000)
ask = pytest.fixture(asking)


def test_a_file_goes_in_and_comes_out(people: People, ask: Ask) -> None:
    repo = make_repo(people.alice, "x", private=True)
    sent, cas = make_file(DATA), ask(people.alice, repo)
    assert cas.send(sent).json() == {"result": 1}
    assert cas.send(sent).json() == {"result": 0}  # a lost answer: asked again
    assert cas.post(f"/v1/xorbs/default/{sent.xorb}", sent.body).json() == {"was_inserted": False}
    assert (Xorb.objects.count(), Blob.objects.count(), Upload.objects.count()) == (1, 1, 1)
    assert XorbChunk.objects.count() == len(sent.table)
    put_stored(people.alice, repo, sent.sha256)
    reading = ask(people.alice, repo, kind="read")
    for version, route in ((2, "/v2/reconstructions"), (1, "/v1/reconstructions"), (1, "/reconstruction")):
        told = reading.get(f"{route}/{sent.text}", Range="bytes=100000-299999").json()
        assert sum(term["unpacked_length"] for term in told["terms"]) >= 200_000
        rows = told["xorbs" if version == 2 else "fetch_info"][sent.xorb]
        assert ("url_range" in rows[0]) == (version == 1)
    whole = reading.get(f"/v2/reconstructions/{sent.text}").json()["xorbs"][sent.xorb][0]
    span = whole["ranges"][0]["bytes"]
    got = httpx2.get(whole["url"], headers={"Range": f"bytes={span['start']}-{span['end']}"})
    assert (got.status_code, got.content) == (206, sent.body)
    assert not verify(hashes=True).missing + verify(hashes=True).wrong_hash


def test_an_address_serves_only_its_range(people: People, ask: Ask) -> None:
    repo = make_repo(people.alice, "x")
    sent, cas = make_file(DATA), ask(people.alice, repo)
    cas.send(sent, refer(sent, 1, 3))
    put_stored(people.alice, repo, Blob.objects.get().sha256)
    text = Blob.objects.get().xet_hash
    row = ask(None, repo, kind="read").get(f"/v2/reconstructions/{text}").json()["xorbs"][sent.xorb][0]
    span = row["ranges"][0]["bytes"]
    assert span["start"] > 0
    assert span["end"] < len(sent.body) - 1
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": f"bytes={span['start']}-{len(sent.body) - 1}"}):
        assert httpx2.get(row["url"], headers=headers).status_code == 403


@pytest.mark.parametrize("span", [(0, 0), (0, 599_999), (123_456, 345_678), (599_999, 599_999), (590_000, 900_000)])
def test_plain_http_by_range(people: People, ask: Ask, span: tuple[int, int]) -> None:
    repo = make_repo(people.alice, "x")
    sent = make_file(DATA)
    ask(people.alice, repo).send(sent)
    put_stored(people.alice, repo, sent.sha256)
    address = f"/{repo.full_name}/resolve/main/tokenizer.model"
    answer = Client().get(address, headers={"Range": f"bytes={span[0]}-{span[1]}"})
    assert (answer.status_code, read(answer)) == (206, DATA[span[0] : span[1] + 1])
    assert answer["Content-Length"] == str(len(DATA[span[0] : span[1] + 1]))
    whole = Client().get(address)
    assert (whole.status_code, read(whole), whole["X-Linked-Size"]) == (200, DATA, str(len(DATA)))
    assert Client().get(address, headers={"Range": f"bytes={len(DATA)}-"}).status_code == 416
    head = Client().head(address)
    assert (head["Content-Length"], head.content) == (str(len(DATA)), b"")
    assert head["X-Xet-Hash"] == sent.text
    assert head["X-Xet-Refresh-Route"].endswith(f"/api/models/alice/x/xet-read-token/{Repo.objects.get().head}")


def test_lfs_downloads_of_files_in_chunks(people: People, ask: Ask) -> None:
    repo = make_repo(people.alice, "x")
    sent = make_file(DATA)
    ask(people.alice, repo).send(sent)
    put_stored(people.alice, repo, sent.sha256)
    body = {"operation": "download", "objects": [{"oid": sent.sha256, "size": len(DATA)}]}
    address = f"/{repo.full_name}.git/info/lfs/objects/batch"
    answer = Client().post(address, body, content_type="application/vnd.git-lfs+json").json()
    href = answer["objects"][0]["actions"]["download"]["href"]
    assert read(Client().get(urlsplit(href).path)) == DATA
    assert Client().get(urlsplit(href).path + "x").status_code == 401


def test_what_others_sent_is_as_if_it_were_not_there(people: People, ask: Ask) -> None:
    secret = make_repo(people.alice, "secret", private=True)
    sent = make_file(DATA)
    ask(people.alice, secret).send(sent)
    put_stored(people.alice, secret, sent.sha256)
    own = make_repo(people.charlie, "own")
    cas = ask(people.charlie, own)
    foreign = cas.post("/v1/shards", refer(sent, 0, 2))
    Xorb.objects.create(hash="0" * 64)
    nothing = make_file(random.Random(2).randbytes(200_000))
    gone = cas.post("/v1/shards", refer(nothing, 0, 1))
    assert foreign.status_code == gone.status_code == 400
    assert foreign.json()["error"].replace(sent.xorb[:16], "") == gone.json()["error"].replace(nothing.xorb[:16], "")
    assert cas.get(f"/v1/chunks/default/{first_chunk(sent)}").status_code == 404
    assert cas.get(f"/v1/reconstructions/{sent.text}").status_code == 404
    assert cas.post("/v1/shards", sent.shard_bytes()).status_code == 400
    assert not Upload.objects.filter(account=people.charlie).exists()
    assert Client().get("/api/models/alice/secret/xet-read-token/main").status_code == 401


def first_chunk(sent: Sent) -> str:
    from hub.xet.hashes import to_text

    return to_text(sent.table.hash_at(0))


def test_public_chunks_may_be_referred_to_but_only_those(people: People, ask: Ask) -> None:
    """Of Alice's xorb chunks 0 to 2 stand in a public file, the rest in a private one."""
    shown, secret = make_repo(people.alice, "shown"), make_repo(people.alice, "secret", private=True)
    sent = make_file(DATA)
    alice = ask(people.alice, shown)
    alice.send(sent)
    alice.post("/v1/shards", refer(sent, 0, 3))
    put_stored(people.alice, shown, Blob.objects.exclude(sha256=sent.sha256).get().sha256)
    ask(people.alice, secret).post("/v1/shards", sent.shard_bytes())
    put_stored(people.alice, secret, sent.sha256)
    cas = ask(people.charlie, make_repo(people.charlie, "own"))
    assert cas.post("/v1/shards", refer(sent, 0, 3)).status_code == 200
    assert cas.post("/v1/shards", refer(sent, 1, 2)).status_code == 200
    assert cas.post("/v1/shards", refer(sent, 2, 4)).status_code == 400
    assert cas.get(f"/v1/chunks/default/{first_chunk(sent)}").status_code == 404  # not all of the xorb is public


def test_a_chunk_that_is_readable_is_told_of(people: People, ask: Ask) -> None:
    repo = make_repo(people.alice, "x")
    sent = make_file(DATA)
    ask(people.alice, repo).send(sent)
    put_stored(people.alice, repo, sent.sha256)
    cas = ask(people.charlie, make_repo(people.charlie, "own"))
    answer = cas.get(f"/v1/chunks/default-merkledb/{first_chunk(sent)}")
    told = shards.parse(answer.content)
    assert [(xorb.hash, xorb.hashes) for xorb in told.xorbs] == [(sent.table.xorb_hash, sent.table.hashes)]
    assert XorbClaim.objects.filter(account=people.charlie).count() == 1


def test_tokens_end_with_what_they_came_from(people: People, ask: Ask, settings: Any) -> None:
    repo = make_repo(people.alice, "x", private=True)
    sent = make_file(DATA)
    cas = ask(people.alice, repo)
    assert cas.send(sent).status_code == 200
    route = f"/v1/chunks/default/{first_chunk(sent)}"
    assert cas.get(route).status_code == 200
    for bad in ("", "nonsense", cas.token + "x", cas.token[:-2]):
        assert Cas(cas.base, bad).get(route).status_code == 401
    elsewhere = Cas(cas.base.replace("/alice/", "/bob/"), cas.token)
    assert elsewhere.get(route).status_code == 401
    reading = ask(people.alice, repo, kind="read")
    assert reading.post("/v1/shards", sent.shard_bytes()).status_code == 403
    settings.XET_EPOCH = "2"
    assert cas.get(route).status_code == 401
    settings.XET_EPOCH = "1"
    Token.objects.filter(account=people.alice).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert cas.get(route).status_code == 401
    Token.objects.filter(account=people.alice).update(expires_at=None)
    assert cas.get(route).status_code == 200
    for token in Token.objects.filter(account=people.alice):
        revoke_token(token)
    assert cas.get(route).status_code == 401
    assert cas.post("/v1/shards", sent.shard_bytes()).status_code == 401


def test_an_expired_token(people: People, ask: Ask, settings: Any) -> None:
    settings.LIMITS = settings.LIMITS | {"xet_token_seconds": -1}
    cas = ask(people.alice, make_repo(people.alice, "x"))
    assert cas.get(f"/v1/chunks/default/{'0' * 64}").status_code == 401


def test_a_token_of_another_repo_reads_nothing_here(people: People, ask: Ask) -> None:
    secret, other = make_repo(people.alice, "secret", private=True), make_repo(people.alice, "other")
    sent = make_file(DATA)
    ask(people.alice, secret).send(sent)
    put_stored(people.alice, secret, sent.sha256)
    assert ask(people.alice, other, kind="read").get(f"/v1/reconstructions/{sent.text}").status_code == 404
    assert ask(None, other, kind="read").get(f"/v1/reconstructions/{sent.text}").status_code == 404


def test_who_may_have_a_token(people: People) -> None:
    repo = make_repo(people.alice, "x")
    address = f"/api/models/{repo.full_name}/xet-write-token/main"
    _row, text = create_token(account=people.charlie, label="c")
    _row, read_only = create_token(account=people.alice, label="r", scope="read")
    assert Client().get(address).status_code == 401
    assert Client().get(address, headers={"Authorization": f"Bearer {text}"}).status_code == 403
    assert Client().get(f"{address}?create_pr=1", headers={"Authorization": f"Bearer {text}"}).status_code == 200
    assert Client().get(address, headers={"Authorization": f"Bearer {read_only}"}).status_code == 403


def test_a_lost_xorb_is_said_and_nothing_is_registered(people: People, ask: Ask) -> None:
    repo, sent = make_repo(people.alice, "x"), make_file(DATA)
    cas = ask(people.alice, repo)
    cas.post(f"/v1/xorbs/default/{sent.xorb}", sent.body)
    XorbClaim.objects.all().delete()
    Xorb.objects.update(created_at=timezone.now() - timedelta(days=3))
    assert collect().xorbs_deleted == 1
    answer = cas.post("/v1/shards", sent.shard_bytes())
    assert answer.status_code == 400
    assert "upload again" in answer.json()["error"]
    assert cas.send(sent).status_code == 200


def test_collection_keeps_what_is_used_or_claimed(people: People, ask: Ask) -> None:
    repo, sent = make_repo(people.alice, "x"), make_file(DATA)
    ask(people.alice, repo).send(sent)
    put_stored(people.alice, repo, sent.sha256)
    Xorb.objects.update(created_at=timezone.now() - timedelta(days=300))
    assert collect().xorbs_deleted == 0
    XorbClaim.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert collect().xorbs_deleted == 0  # a file uses it
    Repo.objects.all().delete()
    collect()
    Blob.objects.update(unreferenced_since=timezone.now() - timedelta(days=30))
    Upload.objects.all().delete()
    assert collect().xorbs_deleted == 1
    assert not Xorb.objects.exists()
    assert not Term.objects.exists()
    with pytest.raises(objects.ObjectMissing):
        objects.head(Xorb(hash=sent.xorb).key)


def test_damage_is_found_and_never_served(people: People, ask: Ask) -> None:
    from hub.store.chunked import Damaged

    repo, sent = make_repo(people.alice, "x"), make_file(DATA)
    ask(people.alice, repo).send(sent)
    put_stored(people.alice, repo, sent.sha256)
    damaged = bytearray(sent.body)
    damaged[300_000] ^= 1
    objects.put(Xorb(hash=sent.xorb).key, bytes(damaged))
    report = verify(hashes=True)
    assert report.wrong_hash == [f"xorb {sent.xorb}", sent.sha256]
    with pytest.raises(Damaged):
        read(Client().get(f"/{repo.full_name}/resolve/main/tokenizer.model"))


def test_another_serialization_of_a_stored_xorb_changes_nothing(people: People, ask: Ask) -> None:
    data = bytes(range(256)) * 1000
    sent = make_file(data)
    plain = b"".join(chunk(data[at : at + 131072]) for at in range(0, len(data), 131072))
    cas = ask(people.alice, make_repo(people.alice, "x"))
    assert cas.post(f"/v1/xorbs/default/{sent.xorb}", sent.body).status_code == 200
    assert len(plain) != len(sent.body)
    assert cas.post(f"/v1/xorbs/default/{sent.xorb}", plain).status_code == 200
    assert objects.head(Xorb(hash=sent.xorb).key).size == len(sent.body) == Xorb.objects.get().size
    # a crash between object and row: the object's own table counts, whatever is sent next
    Xorb.objects.all().delete()
    assert cas.post(f"/v1/xorbs/default/{sent.xorb}", plain).status_code == 200
    assert Xorb.objects.get().size == len(sent.body)
    assert not verify(hashes=True).wrong_hash


def test_while_the_store_is_down(people: People, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, cas = make_file(DATA), ask(people.alice, make_repo(people.alice, "x"))

    def down(*_args: object, **_more: object) -> None:
        raise objects.StoreError(objects.AWAY)

    with monkeypatch.context() as broken:
        broken.setattr(objects, "put_if_absent", down)
        answer = cas.post(f"/v1/xorbs/default/{sent.xorb}", sent.body)
    assert (answer.status_code, answer["Retry-After"]) == (503, "10")
    assert not Xorb.objects.filter(state="present").exists()
    assert cas.send(sent).status_code == 200
    with monkeypatch.context() as broken:
        broken.setattr(objects, "read_range", down)
        other = make_file(DATA[:200_000])
        cas.post(f"/v1/xorbs/default/{other.xorb}", other.body)
        broken.setattr("hub.store.arrived.read", lambda *_args: None)
        assert cas.post("/v1/shards", other.shard_bytes()).status_code == 503
    assert not Upload.objects.filter(size=200_000).exists()
    assert cas.post("/v1/shards", other.shard_bytes()).status_code == 200


def test_a_lost_object_is_said_and_comes_back_with_the_next_upload(
    people: People, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, cas = make_file(DATA), ask(people.alice, make_repo(people.alice, "x"))
    cas.post(f"/v1/xorbs/default/{sent.xorb}", sent.body)
    monkeypatch.setattr("hub.store.arrived.read", lambda *_args: None)
    objects.delete(Xorb(hash=sent.xorb).key)
    answer = cas.post("/v1/shards", sent.shard_bytes())
    assert answer.status_code == 400
    assert "upload again" in answer.json()["error"]
    assert verify().missing == [f"xorb {sent.xorb}"]
    assert cas.send(sent).status_code == 200
    assert not verify(hashes=True).missing
