"""The browser's way in: announce, PUT to the store itself, finish, commit; as static/js/upload.js says it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import requests
from django.test import Client

from hub.repos import trees
from hub.repos.models import Kind, Repo
from tests.people import PASSWORD, People, make_people, make_repo, put

MIB = 1024**2


@pytest.fixture
def people(db: None) -> People:
    return make_people()


class Page:
    """Somebody signed in in a browser, with its cookies and, unless left out, its CSRF token."""

    def __init__(self, name: str) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.client.get("/accounts/login/")
        form = {"login": name, "password": PASSWORD, "csrfmiddlewaretoken": self.client.cookies["csrftoken"].value}
        assert self.client.post("/accounts/login/", form).status_code == 302

    def post(self, address: str, body: dict[str, Any], *, csrf: bool = True) -> Any:
        headers = {"X-CSRFToken": self.client.cookies["csrftoken"].value} if csrf else {}
        return self.client.post(address, body, content_type="application/json", headers=headers)

    def upload(self, base: str, path: str, data: bytes) -> dict[str, Any]:
        """What upload.js does for one file; answers its line of the commit."""
        plan = self.post(f"{base}/uploads", announced(path, data)).json()
        if plan["present"]:
            return {"path": path, "sha256": hashlib.sha256(data).hexdigest()}
        etags, start = [], 0
        for part in plan["parts"]:
            answer = requests.put(part["url"], data=data[start : start + part["size"]], timeout=30)
            assert answer.ok, answer.text
            etags.append(answer.headers["ETag"])
            start += part["size"]
        assert start == len(data)
        finished = self.post(f"{base}/uploads/{plan['upload']}/finish", {"etags": etags})
        assert finished.status_code == 200, finished.content
        return {"path": path, "upload": plan["upload"]}


def announced(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def weights(size: int = 64) -> bytes:
    """A safetensors file with one tensor of this many bytes."""
    header = b'{"x":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    return len(header).to_bytes(8, "little") + header + bytes(range(256)) * (size // 256) + bytes(size % 256)


def files_of(repo: Repo) -> dict[str, bytes]:
    repo.refresh_from_db()
    return {path: file.read() for path, file in trees.list_files(repo, trees.resolve_commit(repo)).items()}


@pytest.mark.parametrize(("kind", "base"), [(Kind.ADAPTER, "/api/v1/repos"), (Kind.TASK, "/api/v1/tasks")])
def test_files_arrive_in_one_commit(people: People, kind: str, base: str) -> None:
    repo, page = make_repo(people.alice, "thing", kind=kind), Page("alice")
    base = f"{base}/alice/thing"
    data = {"big.safetensors": weights(), "README.md": b"---\nlicense: mit\n---\nHello\n", "empty.txt": b""}
    lines = [page.upload(base, path, bytes_) for path, bytes_ in data.items()]
    answer = page.post(f"{base}/commit", {"message": "From a page", "parent": None, "files": lines})
    assert answer.status_code == 201, answer.content
    found = files_of(repo)
    assert {path: found[path] for path in data} == data
    assert answer.json()["commit"] == repo.head
    assert (
        page.post(f"{base}/uploads", announced("copy.safetensors", data["big.safetensors"])).json()["present"] is True
    )


def test_a_large_file_goes_on_where_it_stopped(people: People, settings: Any) -> None:
    settings.LIMITS = settings.LIMITS | {"part_bytes": 5 * MIB}
    repo, page, base = make_repo(people.alice, "thing"), Page("alice"), "/api/v1/repos/alice/thing"
    data = weights(11 * MIB)
    plan = page.post(f"{base}/uploads", announced("w.safetensors", data)).json()
    assert [part["size"] for part in plan["parts"]] == [5 * MIB, 5 * MIB, len(data) - 10 * MIB]
    requests.put(plan["parts"][1]["url"], data=data[5 * MIB : 10 * MIB], timeout=30).raise_for_status()
    again = page.post(f"{base}/uploads", announced("w.safetensors", data)).json()
    assert again["upload"] == plan["upload"]
    assert [bool(part["etag"]) for part in again["parts"]] == [False, True, False]
    for number in (0, 2):
        part = data[number * 5 * MIB : (number + 1) * 5 * MIB]
        requests.put(again["parts"][number]["url"], data=part, timeout=30).raise_for_status()
    hidden = {"etags": ["unnamed", again["parts"][1]["etag"], "unnamed"]}
    assert page.post(f"{base}/uploads/{again['upload']}/finish", hidden).status_code == 200
    line = {"path": "w.safetensors", "upload": again["upload"]}
    assert page.post(f"{base}/commit", {"message": "m", "parent": None, "files": [line]}).status_code == 201
    assert files_of(repo)["w.safetensors"] == data


@pytest.mark.parametrize("path", ["../up.txt", "/etc/passwd", "model.bin", "weights.pkl", "a\x00b.txt", ".git/config"])
def test_what_may_not_be_kept_gets_no_address(people: People, path: str) -> None:
    make_repo(people.alice, "thing")
    answer = Page("alice").post("/api/v1/repos/alice/thing/uploads", announced(path, b"abc"))
    assert answer.status_code in (400, 422), answer.content
    assert answer.json()["error"]
    assert "parts" not in answer.json()


def test_other_bytes_than_announced_are_not_kept(people: People) -> None:
    make_repo(people.alice, "thing")
    page, base = Page("alice"), "/api/v1/repos/alice/thing"
    plan = page.post(f"{base}/uploads", announced("a.txt", b"good")).json()
    requests.put(plan["parts"][0]["url"], data=b"evil", timeout=30).raise_for_status()
    answer = page.post(f"{base}/uploads/{plan['upload']}/finish", {"etags": ["unnamed"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_bytes")
    line = {"path": "a.txt", "upload": plan["upload"]}
    assert page.post(f"{base}/commit", {"message": "m", "parent": None, "files": [line]}).status_code == 422


def test_a_commit_on_an_old_parent_writes_nothing(people: People) -> None:
    repo = make_repo(people.alice, "thing")
    old = put(people.alice, repo, {"a.txt": b"1"})
    put(people.alice, repo, {"a.txt": b"2"})
    body = {"message": "m", "parent": old.sha, "files": [{"path": "a.txt", "content": "3"}]}
    answer = Page("alice").post("/api/v1/repos/alice/thing/commit", body)
    assert answer.status_code == 412, answer.content
    assert answer.json()["error"]
    assert files_of(repo)["a.txt"] == b"2"


def test_a_session_needs_its_csrf_token_and_an_upload_is_its_owners(people: People) -> None:
    make_repo(people.alice, "thing")
    page, base = Page("alice"), "/api/v1/repos/alice/thing"
    assert page.post(f"{base}/uploads", announced("a.txt", b"abc"), csrf=False).status_code == 403
    plan = page.post(f"{base}/uploads", announced("a.txt", b"abc")).json()
    requests.put(plan["parts"][0]["url"], data=b"abc", timeout=30).raise_for_status()
    stranger = Page("charlie").post(f"{base}/uploads/{plan['upload']}/finish", {"etags": []})
    assert stranger.status_code == 403, stranger.content
    line = {"path": "a.txt", "upload": plan["upload"]}
    body = {"message": "m", "parent": None, "files": [line]}
    assert page.post(f"{base}/commit", body).status_code == 422, "it is not finished"
    assert Page("charlie").post(f"{base}/commit", body).status_code == 403


def test_nobody_is_asked_to_sign_in(people: People) -> None:
    make_repo(people.alice, "thing")
    asked = announced("a.txt", b"abc")
    answer = Client().post("/api/v1/repos/alice/thing/uploads", asked, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
