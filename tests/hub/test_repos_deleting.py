"""A repo can be deleted while a job writes about it."""

import contextlib
import threading

import pytest
from django.db import IntegrityError, connection
from django.db.models.signals import post_delete

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
