"""Every head is placed: by its texts, its weights and its question; what cannot be placed says why and loses nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters.catalog import encoder
from adapters.models import Embedding, Kinship
from hub.jobs.models import Job
from hub.repos.models import Kind, Repo
from hub.review.models import Check
from tests.make_adapters import lora_tensors, write_adapter, write_base
from tests.people import People, put
from tests.publishing import do_jobs, publish, push


def write_task(folder: Path, words: str, count: int = 12, labels: tuple[str, ...] = ("good", "bad")) -> Path:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Task\n")
    rows = [
        {"text": f"{words} number {n} is {labels[n % len(labels)]}", "label": labels[n % len(labels)]}
        for n in range(count)
    ]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def methods(repo: Repo) -> dict[str, Embedding]:
    return {row.method: row for row in Embedding.objects.filter(repo=repo)}


def test_a_task_is_placed_by_texts_and_question(people: People, tmp_path: Path) -> None:
    task = publish(people.alice, "films", write_task(tmp_path / "films", "The film"), kind=Kind.TASK)
    found = methods(task)
    assert set(found) == {"texts", "question", "task2vec"}
    texts = found["texts"]
    assert (texts.origin, texts.count, texts.sha, len(texts.texts)) == ("task", 12, task.head, 12)
    assert texts.probe == encoder.loaded()[1] and len(texts.probe) == 64
    assert texts.job is not None and texts.job.kind == "adapters.embed" and texts.seconds > 0
    rows = np.frombuffer(bytes(texts.rows), "<f2").reshape(12, -1).astype(np.float32)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)
    assert Check.objects.get(repo=task, name="placed").verdict == "pass"


def test_an_adapter_without_examples_is_placed_by_its_weights(people: People, tmp_path: Path) -> None:
    publish(people.acme, "tiny-bert", write_base(tmp_path / "base"), by=people.alice)
    card = "---\nlicense: mit\n---\n# No task\n"
    for name, seed in (("one", 1), ("two", 2)):
        folder = write_adapter(tmp_path / name, tensors=lora_tensors(seed=seed))
        (folder / "README.md").write_text(card)
        publish(people.bob, name, folder)
    copy = write_adapter(tmp_path / "copy", tensors={key: value * 1.01 for key, value in lora_tensors(seed=1).items()})
    (copy / "README.md").write_text(card)
    publish(people.charlie, "copy", copy)
    one = Repo.objects.get(name="one")
    assert set(methods(one)) == {"tuned"}
    assert methods(one)["tuned"].probe == methods(Repo.objects.get(name="two"))["tuned"].probe
    pair = Kinship.objects.get(
        left__in=[one, Repo.objects.get(name="copy")], right__in=[one, Repo.objects.get(name="copy")]
    )
    assert pair.cosine == pytest.approx(1.0, abs=1e-5) and pair.places
    assert Kinship.objects.count() == 3


def test_own_examples_and_vectors(people: People, tmp_path: Path) -> None:
    texts = "".join(json.dumps({"text": f"book me a table for {n}"}) + "\n" for n in range(9))
    repo = publish(people.alice, "booking", write_adapter(tmp_path / "a"))
    put(people.alice, repo, {"examples.jsonl": texts.encode()})
    do_jobs()
    assert (methods(repo)["texts"].origin, methods(repo)["texts"].count) == ("examples", 9)
    assert "question" not in methods(repo)
    width = len(methods(repo)["texts"].vector)
    vectors = np.random.default_rng(0).normal(size=(6, width)).astype(np.float32)
    save_file({"vectors": vectors}, tmp_path / "v.safetensors", {"encoder": encoder.loaded()[1]})
    put(people.alice, repo, {"example_vectors.safetensors": (tmp_path / "v.safetensors").read_bytes()})
    do_jobs()
    assert (methods(repo)["texts"].origin, methods(repo)["texts"].texts) == ("vectors", [])


@pytest.mark.parametrize(
    ("name", "tensors", "encoder_name", "words"),
    [
        ("strange", {"vectors": np.ones((6, 384), np.float32)}, "f" * 64, "names the encoder"),
        ("nan", {"vectors": np.full((6, 384), np.nan, np.float32)}, "", "NaN"),
        ("zero", {"vectors": np.zeros((6, 384), np.float32)}, "", "zero"),
        ("other", {"rows": np.ones((6, 384), np.float32)}, "", "no tensor named vectors"),
        ("flat", {"vectors": np.ones(384, np.float32)}, "", "shape"),
        ("narrow", {"vectors": np.ones((8, 10), np.float32)}, "", "vectors of 10 numbers"),
    ],
)
def test_vectors_that_cannot_be_used(
    people: People, tmp_path: Path, name: str, tensors: dict, encoder_name: str, words: str
) -> None:
    folder = write_adapter(tmp_path / "a")
    save_file(tensors, folder / "example_vectors.safetensors", {"encoder": encoder_name or encoder.loaded()[1]})
    repo = publish(people.alice, name, folder)
    check = Check.objects.get(repo=repo, name="placed")
    assert check.verdict == "warn" and words in check.summary, check.summary
    assert set(methods(repo)) == {"tuned"}


def test_a_bad_row_of_examples_is_named(people: People, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / "examples.jsonl").write_text('{"text": "fine"}\n["no object"]\n')
    repo = publish(people.alice, "bad", folder)
    assert "Row 2" in Check.objects.get(repo=repo, name="placed").summary


def test_a_new_head_replaces_the_place(people: People, tmp_path: Path) -> None:
    repo = publish(people.alice, "moving", write_adapter(tmp_path / "one"))
    first = methods(repo)["tuned"]
    push(people.alice, repo, write_adapter(tmp_path / "two", tensors=lora_tensors(seed=5)))
    repo.refresh_from_db()
    second = methods(repo)["tuned"]
    assert (second.sha, first.sha != second.sha) == (repo.head, True)
    assert Job.objects.filter(kind="adapters.embed").exclude(state="succeeded").count() == 0
