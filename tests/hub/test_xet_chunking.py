"""The job that cuts large files into chunks: what is shared with whom, and that nothing is lost on the way."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from hub.jobs.models import Job, State
from hub.jobs.working import run_job
from hub.repos import chunking, trees
from hub.repos.models import Repo
from hub.store import blobs, chunked, cutting, objects, reading
from hub.store.collect import collect
from hub.store.models import Blob, Term, Xorb
from hub.store.verify import verify
from tests.people import People, make_repo, put

pytestmark = pytest.mark.django_db
DATA = random.Random(11).randbytes(1_500_000)
EDITED = DATA[:700_000] + b"an edit" + DATA[700_000:]


@pytest.fixture(autouse=True)
def small(settings: Any) -> None:
    settings.LIMITS = settings.LIMITS | {"whole_bytes": 100_000}


def cut_everything() -> list[Job]:
    """Run the waiting jobs of this kind."""
    jobs = list(Job.objects.filter(kind=chunking.KIND, state=State.QUEUED).order_by("created_at"))
    for job in jobs:
        run_job(str(job.pk))
        job.refresh_from_db()
        assert job.state == State.SUCCEEDED, job.error
    return jobs


def read(repo: Repo) -> bytes:
    return trees.get_file(repo, trees.resolve_commit(repo), "tokenizer.model").read()


def filled(blob: Blob, start: int, end: int) -> bytes:
    """A range through the reader that a merge uses, from a thread without a connection to the database."""
    reader, target = reading.range_reader(blob), bytearray(end - start)
    assert reader is not None
    with ThreadPoolExecutor(1) as pool:
        pool.submit(reader, start, memoryview(target)).result()
    return bytes(target)


def test_a_range_of_a_whole_file(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"small.model": DATA[:50_000]})
    blob = Blob.objects.get(size=50_000)
    assert blob.whole
    assert filled(blob, 10, 40_000) == DATA[10:40_000]
    with pytest.raises(objects.StoreError):
        filled(blob, 49_000, 51_000)


def test_a_large_file_ends_up_in_chunks(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"tokenizer.model": DATA, "small.model": DATA[:5000]})
    put(people.alice, repo, {"notes.txt": b"another commit queues nothing new"})
    assert len(cut_everything()) == 1
    blob = Blob.objects.get(size=len(DATA))
    assert not blob.whole
    assert blob.xet_hash
    assert read(repo) == DATA
    assert reading.read_range(blob, 123_456, 654_321) == DATA[123_456:654_321]
    assert filled(blob, 123_456, 654_321) == DATA[123_456:654_321]
    assert filled(blob, 0, len(DATA)) == DATA
    assert Blob.objects.get(size=5000).whole
    assert objects.head(blob.key).size == len(DATA)  # addresses given out still work
    Blob.objects.update(dropped_at=timezone.now() - timedelta(days=1))
    assert collect().wholes_dropped == 1
    with pytest.raises(objects.ObjectMissing):
        objects.head(blob.key)
    assert read(repo) == DATA
    report = verify(hashes=True)
    assert not report.missing + report.wrong_hash + report.wrong_size
    again = blobs.store_bytes(DATA)
    assert not again.whole
    assert not verify(hashes=True).missing


def stored_bytes() -> int:
    return sum(Xorb.objects.values_list("size", flat=True))


def test_versions_share_chunks(people: People) -> None:
    repo = make_repo(people.alice, "x", private=True)
    put(people.alice, repo, {"tokenizer.model": DATA})
    cut_everything()
    before = stored_bytes()
    put(people.alice, repo, {"tokenizer.model": EDITED})
    cut_everything()
    assert read(repo) == EDITED
    assert stored_bytes() - before < 0.3 * len(DATA)


@pytest.mark.parametrize(
    ("fields", "shared"),
    [({"private": True}, False), ({"private": False}, True), ({"gated": "auto"}, False),
     ({"standing": "quarantined", "standing_reason": "looks harmful"}, False)],
)  # fmt: skip
def test_what_is_shared_with_others(people: People, fields: dict[str, Any], shared: bool) -> None:
    """Chunks of a public file are used by everybody; of a private one by nobody who may not read it."""
    source = make_repo(people.alice, "source")
    Repo.objects.filter(pk=source.pk).update(**fields)
    source.refresh_from_db()
    put(people.alice, source, {"tokenizer.model": DATA})
    cut_everything()
    before = set(Xorb.objects.values_list("pk", flat=True))
    own = make_repo(people.charlie, "own")
    put(people.charlie, own, {"tokenizer.model": EDITED})
    cut_everything()
    used = set(Term.objects.filter(blob__size=len(EDITED)).values_list("xorb_id", flat=True))
    assert bool(used & before) == shared
    assert read(own) == EDITED


def test_chunks_repeated_inside_a_file_are_stored_once(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"tokenizer.model": DATA[:400_000] * 5 + bytes(900_000)})
    cut_everything()
    assert stored_bytes() < 950_000
    assert read(repo) == DATA[:400_000] * 5 + bytes(900_000)


def test_a_rebuild_that_differs_keeps_the_whole_file(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"tokenizer.model": DATA})
    monkeypatch.setattr(chunked, "stream", lambda blob: iter([b"other bytes"]))
    job = Job.objects.get(kind=chunking.KIND)
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert "nothing was lost" in job.error
    blob = Blob.objects.get(size=len(DATA))
    assert (blob.whole, blob.xet_hash, Term.objects.count()) == (True, "", 0)
    assert read(repo) == DATA


def test_a_crash_leaves_only_what_collection_removes(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"tokenizer.model": DATA})
    job = Job.objects.get(kind=chunking.KIND)

    def crash(*_args: object) -> None:
        raise MemoryError("the worker is gone")

    with monkeypatch.context() as broken:
        broken.setattr(cutting, "_terms", crash)
        run_job(str(job.pk))
    assert Xorb.objects.filter(state="present").count() == 1
    assert read(repo) == DATA
    Xorb.objects.update(created_at=timezone.now() - timedelta(days=3))
    assert collect().xorbs_deleted == 1
    run_job(str(job.pk))
    assert not Blob.objects.get(size=len(DATA)).whole
    assert read(repo) == DATA


def test_switched_off(people: People, settings: Any) -> None:
    settings.XET = False
    put(people.alice, make_repo(people.alice, "x"), {"tokenizer.model": DATA})
    assert not Job.objects.filter(kind=chunking.KIND).exists()
