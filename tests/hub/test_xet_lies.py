"""What lies to the chunk store is refused in words, and leaves nothing behind."""

from __future__ import annotations

import random
import struct

import lz4.frame
import pytest
from django.test import Client

from hub.store import objects
from hub.store.models import Blob, Term, Upload, Xorb
from hub.xet import hashes, packing, shards
from tests.hub.xet_support import Ask, asking, chunk, read
from tests.people import People, make_repo
from tests.xet_files import Sent, make_file

pytestmark = pytest.mark.django_db
DATA = random.Random(1).randbytes(600_000)
ask = pytest.fixture(asking)


def broken_shards(sent: Sent) -> dict[str, bytes]:
    term = sent.file.terms[0]
    from dataclasses import replace

    return {
        "no shard": b"no shard at all" * 10,
        "empty": b"",
        "cut off": sent.shard_bytes()[:-60],
        "more at the end": sent.shard_bytes() + b"x" * 48,
        "file hash": sent.shard_bytes(hash=bytes(32)),
        "sha256": sent.shard_bytes(sha256="0" * 64),
        "proof": sent.shard_bytes(terms=(replace(term, proof=bytes(32)),)),
        "range": sent.shard_bytes(terms=(replace(term, end=term.end + 1),)),
        "size": sent.shard_bytes(terms=(replace(term, size=term.size - 1),)),
        "no chunks": sent.shard_bytes(terms=(replace(term, end=0),)),
        "huge": sent.shard_bytes(terms=(replace(term, size=2**32 - 1),) * 1000),
        "other lengths": shards.serialize(
            shards.Shard(
                sent.shard.files,
                (replace(sent.shard.xorbs[0], lengths=sent.shard.xorbs[0].lengths[::-1].copy()),),
            )
        ),
    }


@pytest.mark.parametrize("what", list(broken_shards(make_file(DATA))))
def test_shards_that_lie(people: People, ask: Ask, what: str) -> None:
    sent, cas = make_file(DATA), ask(people.alice, make_repo(people.alice, "x"))
    answer = cas.send(sent, broken_shards(sent)[what] or b"\0")
    assert answer.status_code == 400, answer.content
    assert len(answer.json()["error"]) > 15
    stream = cas.post("/v2/shards", broken_shards(sent)[what] or b"\0")
    assert stream.status_code == 400 or b'"type": "error"' in read(stream)
    assert not Blob.objects.filter(state="present").exists()
    assert not Term.objects.exists()
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    "body",
    [b"", b"short", b"\0" * 8, chunk(b"x" * 9, version=1), chunk(b"x" * 9, scheme=3), chunk(b"x" * 9, scheme=99),
     chunk(b"x" * 9, length=10), chunk(b"x" * 9, packed=20), chunk(b"x" * 9, scheme=1), chunk(b"", length=5),
     chunk(lz4.frame.compress(bytes(20_000_000)), scheme=1, length=131072),
     chunk(lz4.frame.compress(bytes(20_000_000)), scheme=2, length=1), chunk(b"x") * 8193,
     chunk(b"x" * 9) + b"XETBLOB" + bytes(100), chunk(b"sound")],
)  # fmt: skip
def test_xorbs_that_lie(people: People, ask: Ask, body: bytes) -> None:
    cas, never = ask(people.alice, make_repo(people.alice, "x")), Xorb(hash="ab" * 32)
    answer = cas.post(f"/v1/xorbs/default/{never.hash}", body)
    assert answer.status_code == (400 if body else 411), answer.content  # the test client says no length of nothing
    assert len(answer.json()["error"]) > 15
    assert not Xorb.objects.exists()
    with pytest.raises(objects.ObjectMissing):
        objects.head(never.key)


def test_bodies_that_are_too_long_or_have_no_length(people: People, ask: Ask) -> None:
    cas = ask(people.alice, make_repo(people.alice, "x"))
    for route, most in ((f"/v1/xorbs/default/{'0' * 64}", 70 * 1024**2), ("/v1/shards", 65 * 1024**2)):
        for length, status in ((str(most), 413), ("", 411), ("-1", 411), ("many", 411)):
            headers = {"Authorization": f"Bearer {cas.token}"}
            answer = Client().generic("POST", f"{cas.base}{route}", b"x", headers=headers, CONTENT_LENGTH=length)
            assert answer.status_code == status
    assert cas.post("/v1/xorbs/default/nothex", b"x").status_code == 400
    assert cas.get("/v1/reconstructions/nothex").status_code == 400
    assert cas.post("/v1/xorb-grants/default/" + "0" * 64, b"{}").status_code == 404


def test_random_bytes_never_break_a_route(people: People, ask: Ask) -> None:
    cas, sent = ask(people.alice, make_repo(people.alice, "x")), make_file(DATA[:60_000])
    assert cas.send(sent).status_code == 200
    chance = random.Random(7)
    good = sent.shard_bytes()
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 5)):
            at = chance.choice([chance.randrange(len(bad)), chance.randrange(48) * 4 % len(bad)])
            bad[at : at + 4] = struct.pack("<I", chance.choice([0, 1, 2**31, 2**32 - 1, chance.randrange(2**32)]))
        assert cas.post("/v1/shards", bytes(bad)).status_code in (200, 400)
    assert Blob.objects.filter(state="present").count() == 1


def test_a_small_shard_names_no_more_chunks_than_its_bytes_have(people: People, ask: Ask) -> None:
    """A xorb may have 8,192 chunks of one byte; each term of 96 bytes could name all of them again."""
    packer, raw = packing.Packer(), []
    for number in range(8192):
        raw.append(hashes.chunk_hash(bytes([number % 256])))
        packer.add(raw[-1], bytes([number % 256]))
    body, table = packer.take()
    term = shards.ShardTerm(table.xorb_hash, 0, len(table), len(table), hashes.range_hash(table.hashes))
    cas = ask(people.alice, make_repo(people.alice, "x"))
    assert cas.post(f"/v1/xorbs/default/{hashes.to_text(table.xorb_hash)}", body).status_code == 200
    for times, status in ((1, 200), (3, 400)):
        whole = hashes.file_hash(raw * times, table.lengths.tolist() * times)
        file = shards.ShardFile(whole, (term,) * times, None)
        answer = cas.post("/v1/shards", shards.serialize(shards.Shard((file,), ())))
        assert answer.status_code == status, answer.content
    assert "24,576 chunks, more than" in answer.json()["error"]
    assert Blob.objects.count() == 1
