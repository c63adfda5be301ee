"""What a person, and a program, is shown when a page cannot be: the hub's own words, never a bare one."""

from typing import Any

import pytest
from django.test import Client

from tests.markup import markup
from tests.people import PASSWORD, People, make_people, make_repo


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def test_an_address_with_nothing_is_told_in_our_words(people: People) -> None:
    make_repo(people.alice, "closed", private=True)
    for address in ("/nobody", "/nobody/nothing", "/alice/closed", "/a/b/c/d/e/", "/evaluations/99"):
        answer = Client().get(address)
        page = markup(answer)
        assert answer.status_code == 404
        assert "There is nothing at this address" in page and "Sign in" in page and "Browse" in page, address
        assert answer["X-Request-Id"] in page
    answer = Client().get("/api/v2/x")
    assert (answer.status_code, answer.json()["error"].endswith(".")) == (404, True)


def test_a_wrong_method_and_an_old_form(people: People) -> None:
    answer = Client().get("/jobs/00000000-0000-0000-0000-000000000000/cancel")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert "does not take that kind of request" in markup(answer)
    strict = Client(enforce_csrf_checks=True)
    assert strict.login(username="alice", password=PASSWORD)
    answer = strict.post("/settings/profile", {"display_name": "A"})
    assert answer.status_code == 403
    assert "reload the page" in markup(answer)


def test_a_fault_of_ours_has_a_number_and_no_detail(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("merges.pages.browse.listing", broken)
    browser = Client(raise_request_exception=False)
    answer = browser.get("/browse")
    page = markup(answer)
    assert answer.status_code == 500
    assert "Something broke on our side" in page and "secret" not in page
    assert answer["X-Request-Id"] in page
