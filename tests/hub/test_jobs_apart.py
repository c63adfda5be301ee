"""Jobs in a process of their own: the system ends what exceeds its limits, and the worker goes on."""

import multiprocessing.forkserver
import os
import signal
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import connection

from hub.jobs import apart, queue, registry, running
from hub.jobs.limits import Limits
from hub.jobs.models import Job, State
from hub.jobs.registry import JobKind
from hub.repos.models import Repo
from hub.review.models import Check, Verdict
from tests import services
from tests.people import make_people, make_repo


def works(run: running.Running) -> dict[str, Any]:
    run.progress(1, 1)
    return {"process": os.getpid()}


def wants_memory(run: running.Running) -> dict[str, Any]:
    return {"length": len(bytearray(2 * 1024**3))}


def is_stuck(run: running.Running) -> dict[str, Any]:
    while True:
        time.sleep(0.1)


def dies(run: running.Running) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def hear(job: Job) -> None:
    repo = Repo.objects.get(pk=job.arguments["repo"])
    Check.objects.create(repo=repo, sha="a" * 40, name=f"heard {job.title}", verdict=Verdict.FAIL, summary=job.error)


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(settings.LIMITS, "evaluation_seconds", 20)
    monkeypatch.setitem(settings.LIMITS, "evaluation_bytes", 512 * 1024**2)
    limits = Limits("evaluation_seconds", "evaluation_bytes")
    known = {f"test.{function.__name__}": function.__name__ for function in (works, wants_memory, is_stuck, dies)}
    made = {name: JobKind(name, f"{__name__}:{function}", failed=f"{__name__}:hear", limits=limits)
            for name, function in known.items()}  # fmt: skip
    monkeypatch.setattr(registry, "_kinds", made)
    monkeypatch.setattr(queue, "knock", lambda job: None)
    apart._context.cache_clear()
    yield
    apart._context.cache_clear()


def done(kind: str, times: int = 1, **patched: float) -> Job:
    repo = Repo.objects.first() or make_repo(make_people().alice, "thing")
    job = queue.enqueue(f"test.{kind}", title=kind, arguments={"repo": str(repo.pk)})
    memory = str(settings.LIMITS["evaluation_bytes"])
    environment = services.hub_environment(connection.settings_dict["NAME"], LIMIT_EVALUATION_BYTES=memory)
    for _ in range(times):
        with patch.dict(os.environ, environment), patch.multiple(apart, **{"LOOK_SECONDS": 0.2} | patched):
            apart.run_job(str(job.pk), "worker")
    job.refresh_from_db()
    return job


@pytest.mark.django_db(transaction=True)
def test_what_exceeds_its_limits_is_ended_and_the_worker_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.getpid()
    hungry = done("wants_memory")
    assert hungry.state == State.FAILED and "512 MiB of memory" in hungry.error, hungry.error
    assert Check.objects.get(name="heard wants_memory").summary == hungry.error
    fine = done("works")
    assert fine.state == State.SUCCEEDED and fine.result["process"] != own

    dead = done("dies", times=2)
    assert (dead.state, dead.attempt) == (State.QUEUED, 2)
    dead = done("dies", times=4)  # nothing happens the fourth time
    assert (dead.state, dead.attempt) == (State.FAILED, 3)
    assert "Failed 3 times" in dead.error and "SIGSEGV" in dead.error
    assert Check.objects.count() == 2

    settings.LIMITS["evaluation_seconds"] = 2
    late = done("is_stuck", LOOK_SECONDS=0.1)
    assert late.state == State.FAILED and "longer than the 2 seconds" in late.error
    assert done("works").state == State.SUCCEEDED


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_job_that_takes_no_step_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(process: Any, kind: JobKind, job_id: str) -> tuple[str, bool]:
        while process.exitcode is None and not Job.objects.filter(pk=job_id, state=State.RUNNING).exists():
            process.join(0.05)
        Job.objects.filter(pk=job_id).update(cancel_requested=True)
        return before(process, kind, job_id)

    before = apart._wait
    monkeypatch.setattr(apart, "_wait", wait)
    job = done("is_stuck", LOOK_SECONDS=0.1, CANCEL_GRACE_SECONDS=0.2)
    assert (job.state, job.note) == (State.CANCELLED, "Cancelled.")
    assert not Check.objects.exists()


def _in_the_pool(key: str, environment: dict[str, str]) -> None:
    connection.close()
    os.environ.update(environment)
    multiprocessing.forkserver._forkserver.__init__()  # type: ignore[attr-defined,misc]  # the one of before is our parent's
    apart._context.cache_clear()
    apart.run_job(key, "worker")


@pytest.mark.django_db(transaction=True)
def test_a_process_of_celerys_pool_may_do_it_too() -> None:
    from billiard.context import Process

    job = queue.enqueue("test.works", title="works", arguments={})
    memory = str(settings.LIMITS["evaluation_bytes"])
    environment = services.hub_environment(connection.settings_dict["NAME"], LIMIT_EVALUATION_BYTES=memory)
    connection.close()
    pool = Process(target=_in_the_pool, args=(str(job.pk), environment), daemon=True)
    pool.start()
    pool.join(60)
    job.refresh_from_db()
    assert (pool.exitcode, job.state) == (0, State.SUCCEEDED)
    assert job.result["process"] not in (os.getpid(), pool.pid)
