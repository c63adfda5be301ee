"""A repo can be deleted while a job writes about it."""

import threading

import pytest
from django.db import connection, transaction

from hub.repos.lifecycle import delete_repo
from hub.repos.models import Repo
from hub.review.checks import write_check
from tests.people import make_people, make_repo, put


@pytest.mark.django_db(transaction=True)
def test_deleting_waits_for_a_job_that_writes() -> None:
    people = make_people()
    repo = make_repo(people.alice, "x")
    head = put(people.alice, repo, {"a.txt": b"1"})
    written, may_end = threading.Event(), threading.Event()

    def job() -> None:
        with transaction.atomic():
            write_check(repo=repo, sha=head.sha, name="late", verdict="pass", summary="fine")
            written.set()
            may_end.wait(1)
        connection.close()

    thread = threading.Thread(target=job)
    thread.start()
    written.wait(10)
    threading.Timer(0.3, may_end.set).start()
    delete_repo(actor=people.actor("alice"), repo=repo)
    thread.join()
    assert not Repo.objects.exists()
