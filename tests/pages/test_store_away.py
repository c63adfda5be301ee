"""The object store goes away and comes back: what people, programs and jobs are told meanwhile, and that nothing is lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.jobs import queue, registry
from hub.jobs.models import State
from hub.jobs.registry import JobKind
from hub.jobs.running import Running
from hub.repos import trees
from hub.repos.models import Commit, Repo
from hub.store import objects
from tests.people import make_people, make_repo, put
from tests.publishing import do_job
from tests.services import OwnStore

SENTENCE = objects.AWAY
CARD = b"# Words from the store"


@pytest.fixture
def store(tmp_path: Path, settings: Any) -> Iterator[OwnStore]:
    own = OwnStore(tmp_path)
    settings.S3_ENDPOINT_URL = settings.S3_PUBLIC_ENDPOINT_URL = own.endpoint
    own.start()
    try:
        yield own
    finally:
        own.stop()


def reads_the_card(running: Running) -> dict[str, Any]:
    repo = Repo.objects.get()
    return {"bytes": len(trees.get_file(repo, Commit.objects.get(repo=repo), "README.md").read())}


@pytest.mark.slow
def test_everybody_is_told_that_the_store_is_away_and_finds_all_there_when_it_is_back(
    db: None, store: OwnStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = make_people().alice
    put(alice, make_repo(alice, "open"), {".gitattributes": b"README.md filter=lfs -text", "README.md": CARD})
    browser = Client()
    assert "Words from the store" in browser.get("/alice/open").content.decode()

    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    registry.register(JobKind("test.read", f"{__name__}:reads_the_card"))
    job = queue.enqueue("test.read", title="Read", arguments={})

    store.stop()
    answer = browser.get("/alice/open")
    assert answer.status_code == 503
    page = answer.content.decode()
    assert SENTENCE in page and answer["X-Request-Id"] in page and "StoreError" not in page
    do_job(job)
    assert (job.state, job.attempt, job.error) == (State.QUEUED, 1, SENTENCE)

    store.start()
    assert "Words from the store" in browser.get("/alice/open").content.decode()
    do_job(job)
    assert (job.state, job.result, job.error) == (State.SUCCEEDED, {"bytes": len(CARD)}, "")
