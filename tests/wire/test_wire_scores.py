"""A task's leaderboard and a model's results, as the client asks for them: measured here, and claimed in files."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from huggingface_hub.hf_api import DatasetLeaderboardEntry, ModelInfo

from hub.repos.models import Kind, Repo
from merges.models import Evaluation, Origin
from tests.people import People, make_people, make_repo, put
from tests.wire.test_wire_routes import as_

RESULTS = b"""- dataset: {id: alice/moods, task_id: default, revision: abc}
  value: 20.9
  date: 2025-01-15T10:30:00Z
  source: {url: "https://example.org", name: Elsewhere}
  notes: no-tools
- dataset: {id: alice/moods}
  value: 1
- dataset: {id: alice/moods, task_id: x}
  value: many
"""


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def task(people: People) -> Repo:
    repo = make_repo(people.alice, "moods", kind=Kind.TASK)
    put(people.alice, repo, {"README.md": b"A task."})
    repo.refresh_from_db()
    return repo


def score(subject: Repo, task: Repo, value: float, **more: Any) -> Evaluation:
    known = {"subject_sha": "a" * 40, "task_sha": task.head, "n": 100, "low": value - 0.01, "high": value + 0.01}
    return Evaluation.objects.create(subject=subject, task=task, score=value, **known | more)


def board(client: Client, query: str = "") -> list[tuple[int, str, float, bool]]:
    rows = client.get(f"/api/datasets/alice/moods/leaderboard{query}").json()
    entries = [DatasetLeaderboardEntry(**row) for row in rows]
    assert all(entry.author.fullname and entry.source["url"].startswith("http://testserver/eval") for entry in entries)
    return [(entry.rank, entry.model_id, entry.value, entry.verified) for entry in entries]


def test_a_leaderboard_has_what_the_asker_may_see(people: People, task: Repo) -> None:
    base, adapter = make_repo(people.bob, "base", kind=Kind.BASE), make_repo(people.bob, "adapter")
    hidden = make_repo(people.alice, "hidden", private=True)
    score(base, task, 0.5)
    score(adapter, task, 0.7, origin=Origin.CLAIMED)
    score(hidden, task, 0.9)
    everybody = [(1, "bob/adapter", 0.7, False), (2, "bob/base", 0.5, True)]
    assert board(Client()) == board(as_(people.charlie)) == everybody
    assert board(as_(people.alice))[0] == (1, "alice/hidden", 0.9, True)
    assert board(Client(), "?base_model=true") == [(2, "bob/base", 0.5, True)]
    Repo.objects.filter(pk=task.pk).update(private=True)
    assert Client().get("/api/datasets/alice/moods/leaderboard").status_code == 401
    assert as_(people.charlie).get("/api/datasets/alice/moods/leaderboard").status_code == 404
    assert Client().get("/api/models/bob/base/leaderboard").status_code == 404


def test_results_of_a_model_are_measured_or_claimed(people: People, task: Repo) -> None:
    repo, secret = make_repo(people.alice, "x"), make_repo(people.alice, "s", kind=Kind.TASK, private=True)
    card = b"---\nmodel-index: [{name: X, results: []}]\nwidget: [{text: hello}]\n---\n"
    put(people.alice, repo, {"README.md": card, ".eval_results/a.yaml": RESULTS, ".eval_results/b.yaml": b"a: b"})
    score(repo, task, 0.25, subject_sha="b" * 40)
    score(repo, task, 0.5, seed=1)
    score(repo, secret, 0.75)

    def results(client: Client) -> list[tuple[str, str, float]]:
        address = "/api/models/alice/x?expand=evalResults&expand=model-index&expand=widgetData"
        info = ModelInfo(**client.get(address).json())
        assert info.model_index == [{"name": "X", "results": []}]
        assert info.widget_data == [{"text": "hello"}]
        return [(entry.dataset_id, entry.task_id, entry.value) for entry in info.eval_results or []]

    claimed = ("alice/moods", "default", 20.9)
    assert results(Client()) == results(as_(people.charlie)) == [("alice/moods", "accuracy", 0.5), claimed]
    assert set(results(as_(people.alice))) == {("alice/moods", "accuracy", 0.5), ("alice/s", "accuracy", 0.75), claimed}
    rows = Client().get("/api/models/alice/x?expand=evalResults").json()["evalResults"]
    assert [row["filename"] for row in rows if "error" in row] == [
        ".eval_results/a.yaml", ".eval_results/a.yaml", ".eval_results/b.yaml",
    ]  # fmt: skip
    assert rows[1]["data"]["date"] == "2025-01-15T10:30:00Z"
