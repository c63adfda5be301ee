"""Commits of an update alone: from the API and the page to a checkpoint that every door serves the same."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from safetensors.numpy import load, save

from adapters.catalog import predicting, updating
from hub.jobs.models import Job, State
from hub.jobs.working import run_job
from hub.repos import trees
from hub.repos.models import Commit, Repo
from hub.review.models import ChangeRequest
from hub.store import blobs
from hub.store.models import Blob, Prediction
from hub.store.verify import verify
from tests import make_adapters
from tests.markup import markup
from tests.people import PASSWORD, People, make_repo, put

pytestmark = pytest.mark.django_db
FILE, NAME = "model.safetensors", "bert.encoder.layer.0.attention.self.query.weight"


@pytest.fixture
def repo(people: People, tmp_path: Path) -> Repo:
    made = make_repo(people.alice, "checkpoint")
    folder = make_adapters.write_base(tmp_path / "base")
    put(people.alice, made, {path.name: path.read_bytes() for path in folder.iterdir()})
    made.refresh_from_db()
    return made


def client(name: str) -> Client:
    browser = Client()
    assert browser.login(username=name, password=PASSWORD)
    return browser


def adapter(tmp_path: Path, **changes: Any) -> dict[str, bytes]:
    config = make_adapters.lora_config(modules_to_save=None, task_type=None, **changes)
    folder = make_adapters.write_adapter(tmp_path / "adapter", config, make_adapters.lora_tensors(labels=0))
    return {name: (folder / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")}


def post(who: str, repo: Repo, files: dict[str, bytes], **fields: Any) -> Any:
    rows = [{"path": path, "content_base64": base64.b64encode(data).decode()} for path, data in files.items()]
    body = {"base": repo.head, "message": "An update", "files": rows} | fields
    return client(who).post(f"/api/v1/repos/{repo.full_name}/updates", body, content_type="application/json")


def finish(kind: str = updating.KIND) -> Job:
    job = Job.objects.filter(kind=kind).latest("created_at")
    run_job(str(job.pk))
    job.refresh_from_db()
    return job


def weights(repo: Repo, revision: str = "main") -> bytes:
    return trees.get_file(repo, trees.resolve_commit(repo, revision), FILE).read()


def test_an_adapter_becomes_a_checkpoint(repo: Repo, tmp_path: Path) -> None:
    before, base, files = weights(repo), repo.head, adapter(tmp_path)
    answer = post("alice", repo, files)
    assert answer.status_code == 202, answer.content
    job = finish()
    assert job.state == State.SUCCEEDED, job.error
    commit = trees.resolve_commit(repo)
    assert (job.result["commit"], commit.parents) == (commit.sha, [base])
    after = weights(repo)
    assert after != before and len(after) == len(before)
    blob = Blob.objects.get(pk=hashlib.sha256(after).hexdigest())
    row = Prediction.objects.get()
    assert blob.predicted and not blob.whole and (row.blob_id, row.size) == (blob.pk, 0)
    assert trees.get_file(repo, commit, "update/adapter_model.safetensors").read() == files["adapter_model.safetensors"]
    served = Client().get(f"/{repo.full_name}/resolve/main/{FILE}", headers={"Range": "bytes=100-2000"})
    assert b"".join(served.streaming_content) == after[100:2001]
    shown = client("bob").get(f"/api/v1/repos/{repo.full_name}/updates").json()
    assert (shown["kind"], shown["base"]) == ("lora", base)
    assert shown["makes"] == [{"path": FILE, "size": len(after), "sha256": blob.pk}]
    assert {row["path"] for row in shown["sent"]} == {f"update/{name}" for name in files}
    page = markup(Client().get(f"/{repo.full_name}"))
    assert "Made by an update" in page and "A LoRA adapter on" in page
    assert "Made by an update" in markup(Client().get(f"/{repo.full_name}/tensors/main"))
    report = verify(hashes=True)
    assert not report.missing + report.wrong_hash + report.wrong_size
    repo.refresh_from_db()
    assert repo.kind == "base"


def test_the_next_update_replaces_what_was_sent(repo: Repo, people: People, tmp_path: Path) -> None:
    post("alice", repo, adapter(tmp_path))
    finish()
    repo.refresh_from_db()
    at = np.array([0, 5], np.int64)
    sparse = save({f"{NAME}.indices": at, f"{NAME}.values": np.array([7, 8], np.float32)})
    expected = load(weights(repo))
    assert post("alice", repo, {"anything.safetensors": sparse}).status_code == 202
    assert finish().state == State.SUCCEEDED
    commit = trees.resolve_commit(repo)
    paths = {path for path in trees.flatten(repo, commit.tree) if path.startswith("update/")}
    assert paths == {"update/update.json", "update/update.safetensors"}
    expected[NAME].flat[at] = [7, 8]
    assert all(np.array_equal(expected[name], values) for name, values in load(weights(repo)).items())
    assert updating.made_by(repo, commit).kind == "sparse"
    put(people.alice, repo, {FILE: save(expected)})  # an ordinary commit: what was sent explains it no more
    assert updating.made_by(repo, trees.resolve_commit(repo)) is None


def test_made_again_it_is_the_same(repo: Repo, tmp_path: Path) -> None:
    """Twice the same update on the same base gives one blob; so does a long chain, which is kept whole at its end."""
    for number in range(5):
        tensor = save({NAME: np.full((8, 8), number, np.float32)})
        post("alice", repo, {"t.safetensors": tensor})
        job = finish()
        assert job.state == State.SUCCEEDED, job.error
        repo.refresh_from_db()
        assert load(weights(repo))[NAME].mean() == number
    for commit in Commit.objects.filter(repo=repo):
        assert len(weights(repo, commit.sha)) > 1000
    assert Blob.objects.filter(whole=True, size__gt=5000).count() >= 2 and Prediction.objects.count() == 4
    assert not Job.objects.filter(kind=predicting.KIND).exists()


def test_who_may_not_write_proposes(repo: Repo, tmp_path: Path) -> None:
    refused = post("charlie", repo, adapter(tmp_path))
    assert refused.status_code == 403
    assert post("charlie", repo, adapter(tmp_path), change_request=True, description="Why").status_code == 202
    job = finish()
    assert job.state == State.SUCCEEDED, job.error
    request = ChangeRequest.objects.get()
    assert job.result["request"] == request.number
    assert weights(repo, request.ref) != weights(repo)
    run_job(str(job.pk))
    assert ChangeRequest.objects.count() == 1


def test_a_second_worker_commits_nothing_twice(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    post("charlie", repo, adapter(tmp_path), change_request=True)
    real = updating._commit

    def crash(*given: Any) -> None:
        real(*given)
        raise MemoryError("the worker is gone")

    with monkeypatch.context() as broken:
        broken.setattr(updating, "_commit", crash)
        assert finish().state == State.QUEUED
    assert finish().state == State.SUCCEEDED
    assert ChangeRequest.objects.count() == 1


@pytest.mark.parametrize(("files", "fields", "status", "sentence"), [
    ({"t.safetensors": save({NAME: np.zeros((3, 3), np.float32)})}, {}, 422, "3 × 3, in the base 8 × 8"),
    ({"t.safetensors": save({"other": np.zeros(3, np.float32)})}, {}, 422, "no tensor 'other'"),
    ({"t.safetensors": save({NAME: np.full((8, 8), np.nan, np.float32)})}, {}, 422, "NaN"),
    ({"t.safetensors": b"no safetensors at all"}, {}, 422, "safetensors"), ({}, {}, 422, "files of one update"),
    ({"t.safetensors": save({f"{NAME}.indices": np.array([64]), f"{NAME}.values": np.array([1], np.float32)})}, {}, 422, "outside"),
    ({"t.safetensors": save({f"{NAME}.indices": np.array([1, 1]), f"{NAME}.values": np.zeros(2, np.float32)})}, {}, 422, "twice"),
    ({"t.safetensors": save({NAME: np.ones((8, 8), np.float32)})}, {"base": "0" * 40}, 404, ""),
    ({"t.safetensors": save({NAME: np.ones((8, 8), np.float32)})}, {"branch": "gone"}, 404, "no branch"),
    ({"t.txt": b"text"}, {}, 422, "either"),
])  # fmt: skip
def test_bad_updates_are_told_before_anything_is_stored(
    repo: Repo, files: dict[str, bytes], fields: dict[str, Any], status: int, sentence: str
) -> None:
    stored = Blob.objects.count()
    answer = post("alice", repo, files, **fields)
    assert answer.status_code == status and sentence in answer.json()["error"], answer.content
    assert Blob.objects.count() == stored and not Job.objects.filter(kind=updating.KIND).exists()


def test_a_base_that_moved(repo: Repo, people: People, tmp_path: Path) -> None:
    old = repo.head
    put(people.alice, repo, {"README.md": b"# moved\n"})
    answer = post("alice", repo, adapter(tmp_path), base=old)
    assert answer.status_code == 412 and "has moved" in answer.json()["error"]
    repo.refresh_from_db()
    assert post("alice", repo, adapter(tmp_path), base=repo.head).status_code == 202
    put(people.alice, repo, {"README.md": b"# moved again\n"})
    job = finish()  # it moved while the job waited
    assert job.state == State.FAILED and "has moved" in job.error
    assert updating.made_by(repo, trees.resolve_commit(repo)) is None


def test_hidden_repos_are_absent(repo: Repo, tmp_path: Path) -> None:
    Repo.objects.filter(pk=repo.pk).update(private=True)
    assert post("charlie", repo, adapter(tmp_path), change_request=True).status_code == 404
    assert client("charlie").get(f"/{repo.full_name}/update").status_code == 404


def test_the_page(repo: Repo, tmp_path: Path) -> None:
    address = f"/{repo.full_name}/update"
    files = [SimpleUploadedFile(name, data) for name, data in adapter(tmp_path).items()]
    alice = client("alice")
    assert "Send an update" in markup(alice.get(address))
    sent = alice.post(address, {"files": files, "message": "Say it better", "base": repo.head})
    assert sent.status_code == 302
    job = finish()
    assert sent["Location"] == job.get_absolute_url()
    assert job.result["url"] in markup(alice.get(job.get_absolute_url()))
    bad = SimpleUploadedFile("x.safetensors", save({"other": np.zeros(3, np.float32)}))
    refused = client("charlie").post(address, {"files": [bad], "message": "x", "base": repo.head})
    assert refused.status_code == 422 and "no tensor" in markup(refused)


def test_the_update_is_judged_again_by_the_job(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be true of the bytes is found where they are made: the job says it, nothing is committed."""
    config = {
        "peft_type": "LORA",
        "r": 1,
        "lora_alpha": 1,
        "target_modules": ["query"],
        "base_model_name_or_path": "a/b",
    }
    stem = "base_model.model." + NAME.removesuffix(".weight")
    tensors = {
        f"{stem}.lora_A.weight": np.full((1, 8), 3e38, np.float32),
        f"{stem}.lora_B.weight": np.full((8, 1), 3e38, np.float32),
    }
    import json

    post(
        "alice", repo, {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": save(tensors)}
    )
    job = finish()
    assert job.state == State.FAILED and "infinite" in job.error
    assert trees.resolve_commit(repo).sha == repo.head and not Prediction.objects.exists()
    assert blobs.present(hashlib.sha256(weights(repo)).hexdigest())
