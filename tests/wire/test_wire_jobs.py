"""Jobs as the client lists, follows and cancels them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from huggingface_hub import HfApi

from hub.jobs import queue
from hub.jobs.models import Job, State
from tests.people import People, make_people, make_repo
from tests.services import LiveHub
from tests.wire.conftest import Run, Tokens
from tests.wire.test_wire_client import publish
from tests.wire.test_wire_routes import as_


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def make(people: People, repo: Any, title: str, **fields: Any) -> Job:
    job = queue.enqueue("merges.merge", title=title, arguments={}, owner=people.alice, repo=repo)
    Job.objects.filter(pk=job.pk).update(**fields)
    return job


def data(answer: Any) -> list[str]:
    lines = b"".join(answer.streaming_content).decode().split("\n\n")
    return [json.loads(line.removeprefix("data: "))["data"] for line in lines if line.startswith("data: ")]


def test_lists_and_rights(people: People) -> None:
    mine, ours = make_repo(people.alice, "m", private=True), make_repo(people.acme, "o", by=people.alice, private=True)
    now = timezone.now()
    waiting = make(people, mine, "Waiting")
    done = make(
        people, ours, "Done", state=State.SUCCEEDED, started_at=now, ended_at=now, result={"score": 0.5, "x": {}}
    )
    alice, bob, charlie = as_(people.alice), as_(people.bob), as_(people.charlie)

    def names(client: Client, address: str) -> list[str]:
        return [row["command"][0] for row in client.get(address).json()]

    assert names(alice, "/api/jobs/alice") == ["Done", "Waiting"]
    assert names(alice, "/api/jobs/alice?stage=RUNNING&stage=SCHEDULING") == ["Waiting"]
    assert names(alice, "/api/jobs/alice?label=repo=acme/o&label=kind=merges.merge") == ["Done"]
    assert names(alice, "/api/jobs/alice?label=env=prod") == []
    assert names(bob, "/api/jobs/acme") == names(bob, "/api/jobs/alice") == ["Done"]
    assert names(charlie, "/api/jobs/alice") == names(charlie, "/api/jobs/acme") == []
    assert Client().get("/api/jobs/alice").status_code == 401
    for end in ("", "/logs"):
        assert charlie.get(f"/api/jobs/alice/{waiting.pk}{end}").status_code == 404
        assert alice.get(f"/api/jobs/bob/{waiting.pk}{end}").status_code == 404
    assert charlie.post(f"/api/jobs/alice/{waiting.pk}/cancel").status_code == 404
    assert as_(people.alice, scope="read").post(f"/api/jobs/alice/{waiting.pk}/cancel").status_code == 403
    assert alice.post(f"/api/jobs/alice/{waiting.pk}/cancel").json()["status"]["stage"] == "CANCELED"
    said = data(alice.get(f"/api/jobs/acme/{done.pk}/logs"))
    assert said[0].startswith("Done: waiting") and said[1] == "began" and said[-2:] == ["succeeded", "score: 0.5"]
    assert said.index("100 % done") == 11
    assert data(alice.get(f"/api/jobs/acme/{done.pk}/logs?tail=1")) == ["score: 0.5"]
    for method, address in (
        ("post", "/api/jobs/alice"),
        ("get", f"/api/jobs/alice/{done.pk}/metrics"),
        ("put", f"/api/jobs/alice/{done.pk}/labels"),
    ):
        assert getattr(alice, method)(address).status_code == 501
    for method, end in (("get", ""), ("get", "/logs"), ("post", "/cancel"), ("put", "/labels")):
        assert getattr(alice, method)(f"/api/jobs/alice/no-uuid{end}").status_code == 404


def test_pages(people: People) -> None:
    repo = make_repo(people.alice, "m")
    Job.objects.bulk_create(
        Job(kind="merges.merge", title=f"j{number}", owner=people.alice, repo=repo) for number in range(101)
    )
    first = as_(people.alice).get("/api/jobs/alice?stage=SCHEDULING")
    following = first.headers["Link"].partition("<")[2].partition(">")[0]
    assert following == "http://testserver/api/jobs/alice?stage=SCHEDULING&p=1"
    last = as_(people.alice).get(following.removeprefix("http://testserver"))
    assert (len(first.json()), len(last.json()), "Link" in last.headers) == (100, 1, False)


@pytest.mark.slow
def test_the_command(live_hub: LiveHub, tokens: Tokens, hf: Run, tmp_path: Path) -> None:
    api = HfApi(endpoint=live_hub.url, token=tokens.alice)
    publish(api, "wire-alice/with-a-job")
    rows = json.loads(hf("jobs", "ps", "-a", "--label", "repo=wire-alice/with-a-job", "--format", "json").stdout)
    job = next(row["id"] for row in rows if row["docker_image"] == "adapters.inspect")
    assert "COMPLETED" in hf("jobs", "wait", job).stdout + hf("jobs", "inspect", job).stdout
    assert "succeeded" in hf("jobs", "logs", "-f", job).stdout
