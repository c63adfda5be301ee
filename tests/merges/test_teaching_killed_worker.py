"""A worker is killed in the middle of a training: another goes on from the checkpoint to the same bytes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from hub.jobs import working
from hub.jobs.models import Job, State
from hub.jobs.tasks import resend
from hub.repos import trees
from hub.stack.process import python_command
from merges.models import Teaching
from merges.work.teaching.asking import Order, ask_for_teaching
from tests.merges.test_work_teaching import FAST, distinct
from tests.people import People
from tests.publishing import do_jobs, publish
from tests.pure.tiny_models import write_encoder
from tests.services import ROOT, hub_environment

LONG = FAST | {"epochs": 80, "patience": 80, "folds": 0, "learning_rate": 1e-3, "dropout": 0.1}


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts real Celery workers on this test's database; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []
    variables = hub_environment(
        connection.settings_dict["NAME"], LIMIT_CHECKPOINT_SECONDS="0", OMP_NUM_THREADS="1",
        TESSERA_STATE=str(tmp_path / "state"),
    )  # fmt: skip

    def start() -> subprocess.Popen[bytes]:
        words = ("-m", "celery", "-A", "hub", "worker", "-Q", "heavy", "-P", "solo", "-l", "WARNING",
                 "--without-gossip", "--without-mingle", "-n", f"killed-{len(started)}@tests")  # fmt: skip
        log = (tmp_path / f"worker-{len(started)}.log").open("wb")
        started.append(subprocess.Popen(python_command(*words), env=variables, cwd=ROOT, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(done: Callable[[], Any], what: str, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"Waited for {what}."
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_killed_workers_training_is_gone_on_with(
    people: People, tmp_path: Path, start_worker: Callable[[], subprocess.Popen[bytes]]
) -> None:
    publish(people.acme, "tiny", write_encoder(tmp_path / "base"), by=people.alice)
    alice = people.actor("alice")
    row = ask_for_teaching(
        actor=alice, order=Order(target="alice/moods", given=distinct(24), settings=LONG, start="base")
    )
    first = start_worker()
    wait_for(lambda: Teaching.objects.exclude(checkpoint="").filter(pk=row.pk).exists(), "a checkpoint")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    row.refresh_from_db()
    job = Job.objects.get(pk=row.job_id)
    assert job.state == State.RUNNING
    seen = len(row.curve)
    assert 0 < seen < 80, "the training was over before it could be killed"
    Job.objects.filter(pk=job.pk).update(
        lease_until=timezone.now() - timedelta(seconds=1), created_at=timezone.now() - timedelta(minutes=1)
    )
    assert working.reap() == 1
    resend()
    start_worker()
    wait_for(lambda: Job.objects.get(pk=job.pk).has_ended, "the second worker")
    row.refresh_from_db()
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2), job.error
    assert row.report["resumed"]
    assert [point["epoch"] for point in row.curve] == list(range(81))
    whole = ask_for_teaching(
        actor=alice, order=Order(target="alice/whole", task="alice/moods-examples", settings=LONG, start="base")
    )
    do_jobs()
    whole.refresh_from_db()
    weights = [
        trees.get_file(item.repo, trees.resolve_commit(item.repo, item.result_sha), "adapter_model.safetensors").sha
        for item in (row, whole)
    ]
    assert weights[0] == weights[1]
