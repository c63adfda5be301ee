"""A job ends once, whatever dies in between."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from hub.accounts.actor import actor_for
from hub.jobs import queue, registry, running, working
from hub.jobs.models import Job, State
from hub.jobs.reasons import reason_of
from hub.jobs.registry import JobKind
from hub.jobs.running import TryAgain
from hub.rights import Denied
from hub.store.blobs import WrongBytes
from hub.store.objects import StoreError
from tests.people import People


def works(run: running.Running) -> dict[str, Any]:
    run.progress(1, 2, "half")
    with run.adopt():
        pass
    return {"answer": run.arguments["question"] + 1}


def crashes(run: running.Running) -> dict[str, Any]:
    raise RuntimeError("boom")


def refuses(run: running.Running) -> dict[str, Any]:
    raise running.JobFailed("This cannot be done, because of reasons.")


def is_overtaken(run: running.Running) -> dict[str, Any]:
    Job.objects.filter(pk=run.job.pk).update(attempt=run.attempt + 1)
    with run.adopt():
        raise AssertionError("a stale worker wrote")


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    for function in (works, crashes, refuses, is_overtaken):
        registry.register(JobKind(f"test.{function.__name__}", f"{__name__}:{function.__name__}"))
    monkeypatch.setattr(queue, "knock", lambda job: None)
    yield


def make(kind: str, **fields: Any) -> Job:
    return queue.enqueue(f"test.{kind}", title=kind, arguments={"question": 41}, **fields)


@pytest.mark.django_db
def test_success_progress_and_result() -> None:
    job = make("works")
    working.run_job(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.result, job.attempt, job.note) == (State.SUCCEEDED, {"answer": 42}, 1, "")
    working.run_job(str(job.pk))  # redelivered: nothing happens
    job.refresh_from_db()
    assert job.attempt == 1


@pytest.mark.django_db
def test_three_crashes_are_the_end() -> None:
    job = make("crashes")
    for attempt in (1, 2, 3):
        working.run_job(str(job.pk))
        job.refresh_from_db()
        assert job.attempt == attempt
        assert job.state == (State.FAILED if attempt == 3 else State.QUEUED)
    assert job.error == "Failed 3 times. RuntimeError: boom"


@pytest.mark.parametrize("error", [TryAgain("They are busy."), StoreError("It is away."), WrongBytes("It changed.")])
def test_what_is_a_sentence_is_told_without_the_error_s_name(error: Exception) -> None:
    assert reason_of(error) == str(error)


@pytest.mark.django_db
def test_a_reasoned_failure_is_not_retried() -> None:
    job = make("refuses")
    working.run_job(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.attempt, job.error) == (State.FAILED, 1, "This cannot be done, because of reasons.")


@pytest.mark.django_db
def test_a_stale_worker_writes_nothing() -> None:
    job = make("is_overtaken")
    working.run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == State.RUNNING
    assert job.attempt == 2


@pytest.mark.django_db
def test_the_reaper_gives_back_and_gives_up() -> None:
    job = make("works")
    assert working.claim(str(job.pk), "w1") is not None
    assert working.claim(str(job.pk), "w2") is None
    assert working.reap() == 0
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert working.reap() == 1
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.QUEUED, 1)
    Job.objects.update(state=State.RUNNING, attempt=3, lease_until=timezone.now() - timedelta(seconds=1))
    assert working.reap() == 1
    job.refresh_from_db()
    assert (job.state, job.error) == (State.FAILED, "The worker was lost 3 times.")


@pytest.mark.django_db
def test_the_same_work_is_queued_once() -> None:
    assert make("works", key="k") == make("works", key="k")
    assert Job.objects.count() == 1


def test_cancelling(people: People) -> None:
    job = make("works", owner=people.alice)
    with pytest.raises(Denied):
        queue.cancel(actor=actor_for(people.charlie), job=job)
    assert queue.cancel(actor=actor_for(people.alice), job=job).state == State.CANCELLED
    working.run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    other = make("works", owner=people.alice)
    held = working.claim(str(other.pk), "w")
    assert held is not None
    queue.cancel(actor=actor_for(people.mary), job=other)
    with pytest.raises(running.Cancelled):
        held.progress(2, 2)
