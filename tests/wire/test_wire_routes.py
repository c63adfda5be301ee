"""Routes as such: how many queries they take, what they say when something is wrong, pages of lists, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.accounts import throttle
from hub.accounts.actor import actor_for
from hub.accounts.tokens import create_token
from hub.repos import lifecycle
from hub.repos.models import Kind, Repo
from hub.review import change_requests
from hub.store import objects
from tests.people import People, make_people, make_repo, put

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 50


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def as_(account: Any, scope: str = "write", repos: tuple[str, ...] = ()) -> Client:
    _row, text = create_token(account=account, label="test", scope=scope, repos=repos)
    return Client(headers={"Authorization": f"Bearer {text}"})


def queries(client: Client, address: str, method: str = "get") -> tuple[int, Any]:
    getattr(client, method)(address)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        answer = getattr(client, method)(address)
    return len(seen), answer


def test_queries_are_few_and_do_not_grow(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"1", "pic.png": PNG, "README.md": b"---\nlicense: mit\n---\n"})
    nobody, alice = Client(), as_(people.alice)
    small, _ = queries(nobody, "/alice/x/resolve/main/a.txt", "head")
    large, answer = queries(nobody, "/alice/x/resolve/main/pic.png", "head")
    assert (small, large, answer.status_code) == (4, 4, 302)
    assert queries(alice, "/alice/x/resolve/main/a.txt", "head")[0] == 5
    assert queries(nobody, f"/alice/x/resolve/{repo.head}/a.txt", "head")[0] == 4
    before = {
        address: queries(nobody, address)[0]
        for address in ("/api/models/alice/x/tree/main?recursive=true", "/api/models?full=true", "/api/models/alice/x")
    }
    assert list(before.values()) == [4, 3, 5]
    put(people.alice, repo, {f"more-{number}.txt": b"x" for number in range(30)})
    for number in range(5):
        put(people.alice, make_repo(people.alice, f"y{number}"), {"a.txt": b"1"})
    for address, count in before.items():
        assert queries(nobody, address)[0] == count


def test_head_does_not_ask_the_store(people: People, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    put(people.alice, make_repo(people.alice, "x"), {"pic.png": PNG, "a.txt": b"1"})
    settings.S3_ENDPOINT_URL = settings.S3_PUBLIC_ENDPOINT_URL = "http://127.0.0.1:9"
    objects._client.cache_clear()
    try:
        assert Client().head("/alice/x/resolve/main/pic.png").status_code == 302
        assert Client().get("/alice/x/resolve/main/a.txt").content == b"1"
        line = json.dumps({"key": "file", "value": {"path": "n.png", "content": "iVBORw0KGgo=", "encoding": "base64"}})
        answer = as_(people.alice).post("/api/models/alice/x/commit/main", line, content_type="application/x-ndjson")
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "object store" in answer.headers["X-Error-Message"]
    finally:
        objects._client.cache_clear()


def test_errors_are_named_for_the_client(people: People) -> None:
    put(people.alice, make_repo(people.alice, "x"), {"a.txt": b"1"})
    make_repo(people.alice, "hidden", private=True)
    nobody, charlie = Client(), as_(people.charlie)
    for client, status in ((nobody, 401), (charlie, 404)):
        for address in (
            "/api/models/alice/hidden", "/api/models/alice/absent", "/api/models/nobody/x", "/api/models/gpt2",
            "/alice/hidden/resolve/main/a.txt", "/gpt2/resolve/main/config.json", "/api/datasets/alice/x",
            "/api/models/alice/hidden/refs", "/api/models/alice/hidden/discussions", "/api/models/gpt2/revision/main",
        ):  # fmt: skip
            answer = client.get(address)
            assert (answer.status_code, answer.headers["X-Error-Code"]) == (status, "RepoNotFound"), address
    assert nobody.get("/api/models/alice/x/revision/no").headers["X-Error-Code"] == "RevisionNotFound"
    assert nobody.get("/alice/x/resolve/main/no.txt").headers["X-Error-Code"] == "EntryNotFound"
    dead = Client(headers={"Authorization": "Bearer hf_dead"})
    for address in ("/api/whoami-v2", "/api/models/alice/x", "/alice/x/resolve/main/a.txt", "/api/models"):
        answer = dead.get(address)
        message = answer.headers["X-Error-Message"]
        assert (answer.status_code, message) == (401, "Invalid credentials in Authorization header")
    assert nobody.post("/api/models/alice/x/commit/main", b"", content_type="application/x-ndjson").status_code == 401
    assert nobody.get("/api/daily_papers").status_code == 501
    assert nobody.put("/api/models/alice/x/refs").status_code == 405


def test_rights_of_tokens(people: People) -> None:
    put(people.alice, make_repo(people.alice, "x", private=True), {"a.txt": b"1"})
    make_repo(people.alice, "y", private=True)
    reader, limited = as_(people.alice, scope="read"), as_(people.alice, repos=("alice/x",))
    assert reader.get("/api/models/alice/x").status_code == 200
    assert reader.post("/api/models/alice/x/branch/b", "{}", content_type="application/json").status_code == 403
    assert reader.get("/api/models/alice/x/auth-check/write").status_code == 403
    assert limited.get("/api/models/alice/x/auth-check/write").status_code == 200
    assert limited.get("/api/models/alice/y").status_code == 404
    assert [row["id"] for row in limited.get("/api/models").json()] == ["alice/x"]
    assert reader.get("/api/whoami-v2").json()["auth"]["accessToken"] == {
        **reader.get("/api/whoami-v2").json()["auth"]["accessToken"], "displayName": "test", "role": "read",
    }  # fmt: skip


def test_revisions_with_slashes(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"f/a.txt": b"1"})
    lifecycle.create_branch(actor=actor_for(people.alice), repo=repo, name="feature/one")
    for revision in ("feature\x1fone", "refs\x1fheads\x1ffeature\x1fone", "refs/heads/main"):
        assert Client().get(f"/api/models/alice/x/tree/{revision}/f").json()[0]["path"] == "f/a.txt"
        assert Client().get(f"/alice/x/resolve/{revision}/f/a.txt").content == b"1"
    assert Client().get("/api/models/alice/x/tree/main/f\x1fa.txt").status_code == 404


def test_full_refs_remove_and_move_nothing(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"1"})
    lifecycle.create_tag(actor=people.actor("alice"), repo=repo, name="v1")
    alice, base, before = as_(people.alice), "/api/models/alice/x", list(repo.refs.values("name", "target"))
    for name in ("refs%2Fheads%2Fmain", "refs%2Fpr%2F1", "refs/pr/1"):
        assert alice.delete(f"{base}/branch/{name}").status_code == 422
    body = b'{"key": "header", "value": {"summary": "s"}}\n'
    answer = alice.post(f"{base}/commit/refs%2Ftags%2Fv1", body, content_type="application/x-ndjson")
    assert (answer.status_code, "tag stays where it is" in answer.content.decode()) == (422, True)
    answer = alice.post(f"{base}/super-squash/refs%2Ftags%2Fv1", {}, content_type="application/json")
    assert answer.status_code == 404
    assert list(repo.refs.values("name", "target")) == before


def test_pages_of_lists_stand_alone(people: People) -> None:
    for number in range(7):
        make_repo(people.alice, f"r{number}")
    make_repo(people.alice, "secret", private=True)
    make_repo(people.alice, "task", kind=Kind.TASK)
    Repo.objects.filter(name="r3").update(likes=5, tags=["license:mit", "peft"])
    for sort in ("likes", "createdAt", "lastModified", "downloads"):
        address, found, pages = f"/api/models?limit=3&sort={sort}&author=ALICE", [], 0
        while address:
            answer = Client().get(address)
            found += [row["id"] for row in answer.json()]
            link = answer.headers.get("Link", "")
            assert link == "" or link.endswith('; rel="next"')
            address, pages = link.partition(";")[0].strip("<>").removeprefix("http://testserver"), pages + 1
        assert (sorted(found), pages) == ([f"alice/r{number}" for number in range(7)], 3)
    assert [row["id"] for row in Client().get("/api/models?filter=license:mit&filter=peft").json()] == ["alice/r3"]
    assert [row["id"] for row in Client().get("/api/datasets").json()] == ["alice/task"]
    assert Client().get("/api/models?search=alice/R3").json()[0]["tags"] == ["license:mit", "peft"]
    assert Client().get("/api/models-tags-by-type").json()["license"][0]["label"] == "mit"
    for bad in ("sort=beauty", "limit=x", "cursor=zzz", "search=%00", "limit=2&sort=likes&cursor=WyJ4IiwgInkiXQ=="):
        assert Client().get(f"/api/models?{bad}").status_code == 400, bad


def test_commits_in_pages(people: People) -> None:
    repo = make_repo(people.alice, "x")
    made = [put(people.alice, repo, {"a.txt": str(number).encode()}).sha for number in range(5)]
    answer = Client().get("/api/models/alice/x/commits/main?limit=2&expand[]=formatted")
    assert (answer.headers["X-Total-Count"], answer.json()[0]["formatted"]["title"]) == ("5", "Add a.txt")
    found = [row["id"] for row in answer.json()]
    while "Link" in answer.headers:
        answer = Client().get(answer.headers["Link"].partition(";")[0].strip("<>").removeprefix("http://testserver"))
        found += [row["id"] for row in answer.json()]
    assert found == made[::-1]


def test_likes(people: People) -> None:
    make_repo(people.alice, "x")
    bob = as_(people.bob)
    for _ in range(2):
        assert bob.post("/api/models/alice/x/like").status_code == 200
    assert Client().get("/api/models/alice/x").json()["likes"] == 1
    assert [row["user"] for row in Client().get("/api/models/alice/x/likers").json()] == ["bob"]
    assert Client().get("/api/users/bob/likes").json()[0]["repo"] == {"name": "alice/x", "type": "model"}
    assert Client().get("/api/users/bob/overview").json()["numLikes"] == 1
    bob.delete("/api/models/alice/x/like")
    assert Client().get("/api/models/alice/x/likers").json() == []
    assert Client().post("/api/models/alice/x/like").status_code == 401


def test_what_somebody_did_in_private_repos_is_not_counted_for_strangers(people: People) -> None:
    repo = make_repo(people.acme, "hidden", by=people.alice, private=True)
    put(people.alice, repo, {"a.txt": b"1"})
    as_(people.alice).post("/api/models/acme/hidden/like")
    change_requests.open_change_request(actor=people.actor("alice"), repo=repo, title="T")
    counted = ("numLikes", "numDiscussions", "numModels")

    def overview(client: Client, name: str = "alice") -> list[int]:
        answer = client.get(f"/api/users/{name}/overview").json()
        assert [row["name"] for row in answer["orgs"]] == (["acme"] if name == "alice" else [])
        return [answer[key] for key in counted]

    assert overview(as_(people.bob)) == [1, 1, 0]
    assert overview(Client()) == overview(as_(people.charlie)) == overview(Client(), "charlie") == [0, 0, 0]


def test_a_training_hears_what_was_left_behind(people: People) -> None:
    make_repo(people.alice, "x")
    names = ("sub/optimizer.pt", "training_args.bin", "model.safetensors", "rows.parquet", "optimizer.pt.md")
    body = {"files": [{"path": name, "size": 5, "sample": ""} for name in names]}
    answer = as_(people.alice).post("/api/models/alice/x/preupload/main", body, content_type="application/json")
    assert [(row["uploadMode"], row["shouldIgnore"]) for row in answer.json()["files"]] == [
        ("regular", True), ("regular", True), ("regular", False), ("lfs", False), ("regular", False),
    ]  # fmt: skip
    assert answer.headers["X-HF-Warning"].startswith("left-behind; sub/optimizer.pt, training_args.bin: left behind.")
    body["files"] = body["files"][2:]
    answer = as_(people.alice).post("/api/models/alice/x/preupload/main", body, content_type="application/json")
    assert "X-HF-Warning" not in answer.headers


def test_downloads_are_counted_once_for_each_client(people: People) -> None:
    put(people.alice, make_repo(people.alice, "x"), {"a.txt": b"1", "pic.png": PNG})
    cache.clear()
    for path in ("a.txt", "pic.png", "a.txt"):
        Client().head(f"/alice/x/resolve/main/{path}", headers={"X-HF-Download-Counter": "1"})
        Client().get(f"/alice/x/resolve/main/{path}")
    as_(people.bob).get("/alice/x/resolve/main/a.txt")
    assert Repo.objects.get().downloads == 2


def test_limits_are_told_and_kept(people: People, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMITS = True
    monkeypatch.setitem(throttle.RATES, "api", 15)
    cache.clear()
    answers = [Client().get("/api/models") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["RateLimit"].startswith('"api";r=2;t=')
    assert 0 < int(answers[3].headers["Retry-After"]) <= throttle.WINDOW
    assert as_(people.alice).get("/api/models").status_code == 200


def test_stored_files_can_do_nothing_in_a_browser(people: People) -> None:
    put(people.alice, make_repo(people.alice, "x"), {"a.md": b"<script>alert(1)</script>"})
    answer = Client().get("/alice/x/resolve/main/a.md")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (answer.headers["X-Content-Type-Options"], "sandbox" in answer.headers["Content-Security-Policy"]) == (
        "nosniff", True,
    )  # fmt: skip
