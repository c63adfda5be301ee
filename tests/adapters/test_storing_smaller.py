"""Checkpoints stored as what other files leave unexplained: every door gives every byte, and nothing is lost on the way."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from safetensors.numpy import save

from adapters.catalog import decoding, predicting
from hub.jobs.models import Job, State
from hub.jobs.working import run_job
from hub.repos import chunking, commits, freeing, hot, trees
from hub.repos.models import Ref, Repo
from hub.store import blobs, objects, predicted, reading
from hub.store.collect import collect
from hub.store.models import Blob, Prediction, PredictionInput, Term, Xorb
from hub.store.verify import verify
from tests.people import People, make_repo, put

pytestmark = pytest.mark.django_db
FILE = "model.safetensors"
CONFIG = b'{"model_type": "bert", "architectures": ["BertModel"]}'


@pytest.fixture(autouse=True)
def small(settings: Any) -> None:
    settings.LIMITS = settings.LIMITS | {"whole_bytes": 100_000, "predict_bytes": 10_000, "hot_downloads": 2}
    for left in list(objects.walk("predicted/")):  # the bucket outlives a test, the rows do not
        objects.delete(left.key)


def checkpoint(seed: int = 0, noise: float = 0.0, rows: slice = slice(None)) -> bytes:
    """About 500 kB of weights; with noise, those of the seed a little changed."""
    random, other = np.random.default_rng(seed), np.random.default_rng(seed + 100)
    tensors = {"emb.weight": random.standard_normal((900, 64), dtype=np.float32)[rows]}
    for layer in range(4):
        weight = random.standard_normal((128, 128), dtype=np.float32)
        if noise:
            weight += np.float32(noise) * other.standard_normal(weight.shape, dtype=np.float32)
        tensors[f"layer.{layer}.query.weight"] = weight
    return save(tensors, {"format": "pt"})


def work(*kinds: str) -> list[Job]:
    """Run the waiting jobs of these kinds."""
    jobs = list(Job.objects.filter(kind__in=kinds, state=State.QUEUED).order_by("created_at"))
    for job in jobs:
        run_job(str(job.pk))
        job.refresh_from_db()
        assert job.state == State.SUCCEEDED, job.error
    return jobs


def later() -> None:
    """Let the time pass after which old copies go, and collect."""
    past = timezone.now() - timedelta(days=2)
    Blob.objects.exclude(dropped_at=None).update(dropped_at=past)
    Blob.objects.exclude(chunks_dropped_at=None).update(chunks_dropped_at=past)
    Xorb.objects.update(created_at=past)
    collect()


def read(repo: Repo, revision: str = "main") -> bytes:
    return trees.get_file(repo, trees.resolve_commit(repo, revision), FILE).read()


def sound() -> None:
    report = verify(hashes=True)
    assert not report.missing + report.wrong_hash + report.wrong_size
    assert not [key for key in report.unknown if key.startswith("predicted/")]


OLD, NEW = checkpoint(), checkpoint(noise=1e-4)


@pytest.fixture
def repo(people: People) -> Repo:
    """Two revisions; the second can be predicted, its job waits."""
    made = make_repo(people.alice, "x")
    put(people.alice, made, {FILE: OLD, "config.json": CONFIG})
    put(people.alice, made, {FILE: NEW})
    return made


def the_blob(data: bytes = NEW) -> Blob:
    return Blob.objects.get(pk=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("chunks_first", [False, True])
def test_a_revision_is_stored_as_the_difference_to_its_parent(repo: Repo, chunks_first: bool) -> None:
    if chunks_first:
        work(chunking.KIND)
        assert Term.objects.filter(blob=the_blob()).exists()
    (job,) = work(predicting.KIND)
    assert job.result["bytes"] < 0.7 * len(NEW)
    blob = the_blob()
    assert blob.predicted and not blob.whole
    work(chunking.KIND)  # the base ends up in chunks, the predicted file does not
    assert read(repo) == NEW
    later()
    blob = the_blob()
    assert blob.xet_hash == "" and not Term.objects.filter(blob=blob).exists()
    with pytest.raises(objects.ObjectMissing):
        objects.head(blob.key)
    assert read(repo) == NEW and read(repo, repo.refs.get().target) == NEW
    assert reading.read_range(blob, 123_456, 345_678) == NEW[123_456:345_678]
    sound()
    assert blobs.store_bytes(NEW).predicted  # sent again: it is here
    assert b"".join(reading.stream(the_blob(OLD))) == OLD


@pytest.fixture
def stored(repo: Repo) -> Repo:
    """The second revision is predicted, its other copies are gone."""
    work(predicting.KIND)
    work(chunking.KIND)
    later()
    assert not the_blob().whole
    return repo


def test_every_door_gives_the_same_bytes(stored: Repo, people: People) -> None:
    client, address = Client(), f"/alice/x/resolve/main/{FILE}"
    answer = client.get(address)
    assert (answer.status_code, b"".join(answer.streaming_content)) == (200, NEW)
    assert answer["X-Linked-Etag"] == f'"{hashlib.sha256(NEW).hexdigest()}"' and "X-Xet-Hash" not in answer
    part = client.get(address, headers={"Range": "bytes=70000-370000"})
    assert (part.status_code, b"".join(part.streaming_content)) == (206, NEW[70_000:370_001])
    tail = client.get(address, headers={"Range": "bytes=-5"})
    assert b"".join(tail.streaming_content) == NEW[-5:]
    head = client.head(address)
    assert head["Content-Length"] == str(len(NEW))
    batch = client.post(
        "/alice/x.git/info/lfs/objects/batch",
        json.dumps({"operation": "download", "transfers": ["basic"],
                    "objects": [{"oid": hashlib.sha256(NEW).hexdigest(), "size": len(NEW)}]}),
        content_type="application/vnd.git-lfs+json",
    )  # fmt: skip
    target = batch.json()["objects"][0]["actions"]["download"]["href"]
    lfs = client.get(target.partition("testserver")[2] or target[target.index("/alice") :])
    assert b"".join(lfs.streaming_content) == NEW
    listing = client.get("/api/models/alice/x/tree/main").json()
    assert all(not row.get("xetHash") for row in listing if row["path"] == FILE)


def test_xet_reads_go_on_for_a_while(repo: Repo) -> None:
    work(chunking.KIND)
    text = the_blob().xet_hash
    work(predicting.KIND)
    blob = the_blob()
    assert (blob.xet_hash, blob.xet_name) == (text, "")  # nobody new is sent there; who was, still reads
    assert Term.objects.filter(blob=blob).exists()
    assert "X-Xet-Hash" not in Client().head(f"/alice/x/resolve/main/{FILE}")
    later()
    assert not Term.objects.filter(blob=blob).exists()
    assert read(repo) == NEW


def test_many_downloads_make_it_whole(stored: Repo) -> None:
    cache.clear()
    for _ in range(2):
        assert b"".join(Client().get(f"/alice/x/resolve/main/{FILE}").streaming_content) == NEW
    work(hot.KIND)
    assert the_blob().whole and Client().get(f"/alice/x/resolve/main/{FILE}").status_code == 302
    Blob.objects.update(hot_until=timezone.now() - timedelta(seconds=1))
    collect()
    later()
    assert not the_blob().whole
    assert read(stored) == NEW
    sound()


STEPS: list[tuple[object, str]] = [
    (predicting.explaining, "gather"), (predicting, "_encode"), (predicted, "_lock_graph"), (objects, "put_large"),
    (predicted, "rebuilt"), (predicted, "confirm"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "name"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_step_loses_nothing(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, place: object, name: str, after: bool
) -> None:
    real: Callable[..., Any] = getattr(place, name)

    def crash(*given: Any, **named: Any) -> None:
        if after:
            real(*given, **named)
        raise MemoryError("the worker is gone")

    job = Job.objects.get(kind=predicting.KIND)
    with monkeypatch.context() as broken:
        broken.setattr(place, name, crash)
        run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == State.QUEUED
    assert the_blob().whole and not the_blob().predicted
    assert read(repo) == NEW
    later()
    assert read(repo) == NEW
    run_job(str(job.pk))  # another worker takes it up
    job.refresh_from_db()
    assert job.state == State.SUCCEEDED, job.error
    assert the_blob().predicted and Prediction.objects.count() == 1
    later()
    assert read(repo) == NEW
    sound()


def test_an_abandoned_payload_is_collected(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_given: Any, **_named: Any) -> None:
        raise MemoryError("the worker is gone")

    monkeypatch.setattr(predicted, "rebuilt", crash)
    for _ in range(3):
        run_job(str(Job.objects.get(kind=predicting.KIND).pk))
    row = Prediction.objects.get()
    assert objects.head(row.key).size == row.size
    Prediction.objects.update(created_at=timezone.now() - timedelta(days=9))
    collect()
    assert not Prediction.objects.exists() and not list(objects.walk("predicted/"))
    assert read(repo) == NEW


def test_a_rebuild_that_differs_keeps_the_file(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicted, "rebuilt", lambda *_given: "0" * 64)
    job = Job.objects.get(kind=predicting.KIND)
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == State.FAILED and "nothing was lost" in job.error
    assert the_blob().whole and not Prediction.objects.exists() and not list(objects.walk("predicted/"))


def test_what_explains_others_stays(stored: Repo, people: People) -> None:
    """Nothing but the prediction refers to the old file any more: it stays as long as the new one, and no longer."""
    old = the_blob(OLD).pk
    copy = make_repo(people.alice, "copy")
    put(people.alice, copy, {FILE: NEW})
    stored.delete()
    Blob.objects.update(unreferenced_since=timezone.now() - timedelta(days=30))
    collect()
    assert Blob.objects.filter(pk=old).exists() and read(copy) == NEW
    assert freeing.sweep() == 1  # what was deleted is to go: the other file is stored by itself again
    work(freeing.KIND)
    assert the_blob().whole and not the_blob().predicted and freeing.sweep() == 0
    assert read(copy) == NEW and Prediction.objects.exists()  # a download may still read it
    Prediction.objects.update(created_at=timezone.now() - timedelta(days=1))
    for _ in range(3):
        collect()
        Blob.objects.exclude(unreferenced_since=None).update(unreferenced_since=timezone.now() - timedelta(days=30))
    assert not Blob.objects.filter(pk=old).exists() and not Prediction.objects.exists() and read(copy) == NEW
    work(chunking.KIND)
    assert read(copy) == NEW
    copy.delete()
    for _ in range(3):
        collect()
        Blob.objects.exclude(unreferenced_since=None).update(unreferenced_since=timezone.now() - timedelta(days=30))
    assert not Blob.objects.exists() and not Prediction.objects.exists()
    assert not list(objects.walk("predicted/"))


@pytest.mark.parametrize(("private", "used"), [(True, False), (False, True)])
def test_what_others_hide_explains_nothing(people: People, private: bool, used: bool) -> None:
    source = make_repo(people.alice, "base", private=private)
    put(people.alice, source, {FILE: OLD, "config.json": CONFIG})
    own = make_repo(people.charlie, "own")
    card = b"---\nbase_model: alice/base\n---\nA fine-tune.\n"
    put(people.charlie, own, {FILE: NEW, "README.md": card, "config.json": CONFIG})
    work(predicting.KIND)
    assert the_blob().predicted == used
    assert read(own) == NEW
    if used:  # hidden later: what was made of it stays readable, and names it nowhere
        Repo.objects.filter(pk=source.pk).update(private=True)
        later()
        answer = Client().get(f"/charlie/own/resolve/main/{FILE}")
        assert b"".join(answer.streaming_content) == NEW
        objects.delete(the_blob(OLD).key)
        with pytest.raises(objects.StoreError) as raised:
            b"".join(reading.stream(the_blob()))
        assert "alice" not in str(raised.value) and the_blob(OLD).pk[:6] not in str(raised.value)


@pytest.mark.parametrize("private", [False, True])
def test_a_private_repo_explains_no_public_one_of_its_owner(people: People, private: bool) -> None:
    """How well it does would tell everybody that something of the kind is hidden there."""
    source = make_repo(people.alice, "hidden", private=True)
    put(people.alice, source, {FILE: OLD, "config.json": CONFIG})
    own = make_repo(people.alice, "own", private=private)
    put(
        people.alice,
        own,
        {FILE: NEW, "config.json": CONFIG, "README.md": b"---\nbase_model: alice/hidden\n---\nA fine-tune.\n"},
    )
    work(predicting.KIND)
    assert the_blob().predicted == private


def test_chains_end_after_three_levels_and_never_close(people: People) -> None:
    repo = make_repo(people.alice, "x")
    versions = [checkpoint(noise=0)] + [checkpoint(noise=1e-5 * (7**number)) for number in range(5)]
    for data in versions:
        put(people.alice, repo, {FILE: data, "config.json": CONFIG})
        work(predicting.KIND)
    later()
    for commit in trees.log(repo, trees.resolve_commit(repo)):
        assert read(repo, commit.sha) in versions
    assert Prediction.objects.count() >= 4
    assert max(predicted.levels_below([blob.pk]) for blob in Blob.objects.all()) <= predicted.MOST_LEVELS
    child = Prediction.objects.order_by("created_at").first()
    assert child is not None
    parent = child.inputs.get().blob
    with pytest.raises(predicted.CannotPredict):
        predicted.propose(parent, decoding.NAME, b"", [child.blob_id], io.BytesIO(), 0)
    with pytest.raises(predicted.CannotPredict):
        predicted.propose(parent, decoding.NAME, b"", ["0" * 64], io.BytesIO(), 0)
    assert not PredictionInput.objects.filter(prediction__blob=parent).exists()


def test_both_parents_of_a_merge_and_fewer_rows(people: People) -> None:
    repo = make_repo(people.alice, "x")
    base = put(people.alice, repo, {FILE: OLD, "config.json": CONFIG})
    Ref.objects.create(repo=repo, name="refs/heads/b", target=base.sha)
    one, other = checkpoint(noise=0.01), checkpoint(seed=0, noise=0.02)
    left = put(people.alice, repo, {FILE: one})
    right = put(people.alice, repo, {FILE: other}, branch="b")
    work(predicting.KIND)
    from safetensors.numpy import load

    loaded = [load(data) for data in (one, other)]
    mean = save({name: (loaded[0][name] + loaded[1][name]) * np.float32(0.5) for name in loaded[0]}, {"format": "pt"})
    file = commits.Put(FILE, commits.changes.Inline(mean))
    files = trees.flatten(repo, left.tree)
    commits.commit_merge(
        author=people.alice, repo=repo, branch="main", parents=[left.sha, right.sha], files=files, message="Mean",
        puts=[file],
    )  # fmt: skip
    (job,) = work(predicting.KIND)
    assert job.result["bytes"] < 1500
    rows = load(mean)
    rows["emb.weight"] = np.delete(rows["emb.weight"], slice(1, 100), axis=0)
    trimmed = save(rows, {"format": "pt"})
    put(people.alice, repo, {FILE: trimmed})
    (job,) = work(predicting.KIND)
    assert job.result["bytes"] < 1500
    later()
    assert read(repo) == trimmed and read(repo, trees.resolve_commit(repo).parents[0]) == mean
    sound()


def test_switched_off_and_not_worth_it(people: People, settings: Any) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {FILE: OLD, "config.json": CONFIG})
    put(people.alice, repo, {FILE: checkpoint(seed=5)})
    (job,) = work(predicting.KIND)
    assert job.result["skipped"] == "it saves too little" and not Prediction.objects.exists()
    settings.PREDICT = False
    put(people.alice, repo, {FILE: NEW})
    assert not Job.objects.filter(kind=predicting.KIND, state=State.QUEUED).exists()
