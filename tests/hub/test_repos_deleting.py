"""A repo can be deleted while a job writes about it."""

import contextlib
import threading
import time
from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import post_delete

from hub.activity.record import record
from hub.jobs.models import Job
from hub.jobs.queue import enqueue
from hub.repos.lifecycle import delete_repo
from hub.repos.models import Repo
from hub.review.change_requests import open_change_request
from hub.review.checks import write_check
from hub.review.models import ChangeRequest, Check
from tests.people import make_people, make_repo, put


@pytest.mark.django_db(transaction=True)
def test_a_late_writer_finds_the_repo_gone() -> None:
    people = make_people()
    repo = make_repo(people.alice, "x")
    head = put(people.alice, repo, {"a.txt": b"1"})
    open_change_request(actor=people.actor("bob"), repo=repo, title="Idea")

    def job() -> None:
        with contextlib.suppress(IntegrityError):
            write_check(repo=repo, sha=head.sha, name="late", verdict="pass", summary="fine")
        connection.close()

    thread = threading.Thread(target=job)

    def in_the_middle(**_kwargs: object) -> None:  # the checks are deleted already, the repo is not
        thread.start()
        thread.join(0.5)

    post_delete.connect(in_the_middle, sender=ChangeRequest)
    try:
        delete_repo(actor=people.actor("alice"), repo=repo)
    finally:
        post_delete.disconnect(in_the_middle, sender=ChangeRequest)
        thread.join()
    assert not Repo.objects.exists()
    assert not Check.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_job_that_comes_while_the_deletion_waits_for_the_repo_is_waited_for() -> None:
    """The job holds its row and wants the repo, the deletion holds the repo and wants the job's row."""
    people = make_people()
    repo = make_repo(people.alice, "x")
    Job.objects.all().delete()
    events = {name: threading.Event() for name in ("held", "go", "locked", "write")}
    failed: list[BaseException] = []

    def apart(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def writer() -> None:  # keeps the repo from being locked until the job is there
        with transaction.atomic():
            Repo.objects.select_for_update(no_key=True).get()
            events["held"].set()
            events["go"].wait(20)

    def worker() -> None:
        with transaction.atomic():
            Job.objects.select_for_update().get(repo=repo)
            events["locked"].set()
            events["write"].wait(20)
            record(people.alice, "like", repo=repo)

    threads = [apart(writer)]
    assert events["held"].wait(20)
    threads.append(apart(lambda: delete_repo(actor=people.actor("alice"), repo=repo)))
    until_somebody_waits()
    enqueue("adapters.inspect", title="Late", arguments={}, owner=people.alice, repo=repo)
    threads.append(apart(worker))
    assert events["locked"].wait(20)
    events["go"].set()
    time.sleep(0.5)  # the deletion has had the repo by now
    events["write"].set()
    for thread in threads:
        thread.join(30)
    assert failed == []
    assert not Repo.objects.exists()


def until_somebody_waits() -> None:
    """Until a statement of this database waits for a lock."""
    for _ in range(200):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if cursor.fetchone():
                return
        time.sleep(0.05)
    raise AssertionError("Nothing waits for a lock.")
