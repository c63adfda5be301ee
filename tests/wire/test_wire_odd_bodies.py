"""What JSON and addresses can say that is no text and no number: refused in words, and nothing is stored."""

import json
from typing import Any

import pytest

from hub.repos.models import GitObject, Repo
from hub.review import change_requests
from tests.people import People, make_people, make_repo, put
from tests.wire.test_wire_routes import as_

HALF = "\ud800"
GOOD = {"key": "file", "value": {"path": "b.txt", "content": "eA=="}}


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def repo(people: People) -> Repo:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"1"})
    return repo


def commit(people: People, revision: str, *rows: dict[str, Any]) -> Any:
    body = "\n".join(json.dumps(row) for row in rows)
    address = f"/api/models/alice/x/commit/{revision}"
    return as_(people.alice).post(address, body, content_type="application/x-ndjson")


@pytest.mark.parametrize(
    "row",
    [
        {"key": "header", "value": {"summary": HALF}},
        {"key": "header", "value": {"summary": "S", "description": HALF}},
        {"key": "file", "value": {"path": f"{HALF}.txt", "content": "eA=="}},
        {"key": "file", "value": {"path": "c.txt", "content": HALF, "encoding": "utf-8"}},
        {"key": "file", "value": {"path": "c.txt", "content": HALF}},
        {"key": "deletedFile", "value": {"path": HALF}},
        {"key": "deletedFolder", "value": {"path": HALF}},
    ],
)
def test_half_a_pair_in_a_commit(people: People, repo: Repo, row: dict[str, Any]) -> None:
    before = GitObject.objects.count()
    answer = commit(people, "main", {"key": "header", "value": {"summary": "S"}}, GOOD, row)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 20
    assert GitObject.objects.count() == before


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("preupload/main", {"files": [{"path": f"{HALF}.txt", "size": 1}]}),
        ("preupload/main", {"files": [{"path": "a.txt", "size": 1}], "gitIgnore": HALF}),
        ("discussions", {"title": HALF}),
    ],
)
def test_half_a_pair_elsewhere(people: People, repo: Repo, address: str, body: dict[str, Any]) -> None:
    where = f"/api/models/alice/x/{address}"
    answer = as_(people.alice).post(where, json.dumps(body), content_type="application/json")
    assert answer.status_code == 400
    assert "surrogate" in answer.json()["error"]


def test_digits_that_are_no_numbers(people: People, repo: Repo) -> None:
    change_requests.open_change_request(actor=people.actor("alice"), repo=repo, title="T")
    alice = as_(people.alice)
    assert commit(people, "refs%2Fpr%2F²", {"key": "header", "value": {"summary": "S"}}, GOOD).status_code in (403, 404)
    where, body = "/api/models/alice/x/user-access-request/handle", {"requestId": "²", "status": "accepted"}
    assert alice.post(where, body, content_type="application/json").status_code == 404
    for address, status in (
        ("/api/models?limit=²", 400),
        ("/api/models/alice/x/commits/main?p=²&limit=²", 200),
        ("/api/models/alice/x/discussions?p=²", 200),
        ("/api/collections?p=²&limit=²", 200),
        ("/api/jobs/alice?p=²", 200),
        ("/api/models/alice/x/discussions?p=" + "9" * 5000, 200),
        ("/api/models?sort=downloads&cursor=W0luZmluaXR5LCIxIl0=", 400),
    ):
        assert alice.get(address).status_code == status, address
