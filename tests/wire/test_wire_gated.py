"""Gated repos: known to everybody, read by whom was let in, on every door."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from hub import rights
from hub.accounts.models import Account
from hub.repos import access, uploading
from hub.repos.models import AccessRequest, GitObject, Repo
from hub.rights import Verb
from tests.people import People, make_people, make_repo, put
from tests.wire.test_wire_repos import post
from tests.wire.test_wire_routes import as_

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 50


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def repo(people: People) -> Repo:
    repo = make_repo(people.acme, "guarded", by=people.alice)
    put(people.alice, repo, {"README.md": b"---\nlicense: mit\n---\nhush", "pic.png": PNG})
    answer = as_(people.alice).put(
        "/api/models/acme/guarded/settings", json.dumps({"gated": "manual"}), content_type="application/json"
    )
    assert answer.json()["gated"] == "manual"
    repo.refresh_from_db()
    return repo


def browser(account: Account) -> Client:
    client = Client()
    client.force_login(account, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def test_known_but_not_read(people: People, repo: Repo) -> None:
    charlie = as_(people.charlie)
    row = next(row for row in charlie.get("/api/models?gated=true").json() if row["id"] == "acme/guarded")
    assert row["gated"] == "manual"
    assert Client().get("/api/models?gated=false").json() == []
    info = charlie.get("/api/models/acme/guarded?blobs=true").json()
    assert (info["gated"], {"rfilename": "pic.png"} in info["siblings"]) == ("manual", True)
    for client, status in ((charlie, 403), (Client(), 401)):
        for address in ("/acme/guarded/resolve/main/README.md", "/acme/guarded/raw/main/README.md", "/api/models/acme/guarded/tree/main",
                        "/api/models/acme/guarded/compare/main..main", "/acme/guarded.git/info/refs?service=git-upload-pack",
                        "/api/models/acme/guarded/xet-read-token/main", "/api/models/acme/guarded/discussions",
                        "/api/models/acme/guarded/auth-check", "/api/models/acme/guarded/refs"):  # fmt: skip
            answer = client.get(address)
            assert (answer.status_code, answer.headers.get("X-Error-Code")) == (status, "GatedRepo"), address
            assert "Ask for it at http://testserver/acme/guarded/access" in answer.headers["X-Error-Message"]
        assert (
            post(client, "/acme/guarded.git/info/lfs/objects/batch", operation="download", objects=[]).status_code
            == status
        )
        assert post(client, "/api/models/acme/guarded/duplicate", repository="charlie/x").status_code == status
    sha256 = GitObject.objects.get(repo=repo, large__isnull=False).large_id
    assert not uploading.is_readable(people.actor("charlie"), sha256)
    for address in ("/api/v1/repos/acme/guarded", "/api/v1/repos/acme/guarded/files/README.md"):
        assert charlie.get(address).status_code == 404
    page = browser(people.charlie).get("/acme/guarded/blob/main/README.md")
    assert (page.status_code, page.headers["Location"]) == (303, "/acme/guarded/access")
    for name in ("alice", "bob", "mary"):
        assert as_(getattr(people, name)).get("/acme/guarded/resolve/main/README.md").status_code == 200


def test_asking_letting_in_and_putting_out(people: People, repo: Repo) -> None:
    base, charlie, alice = "/api/models/acme/guarded/user-access-request", as_(people.charlie), as_(people.alice)
    at_the_door = browser(people.charlie)
    assert b"Ask for access" in at_the_door.get("/acme/guarded/access").content
    at_the_door.post("/acme/guarded/access", {"action": "ask", "text": "research"})
    at_the_door.post("/acme/guarded/access", {"action": "ask", "text": "again"})
    at_the_door.post("/acme/guarded/access", {"action": "accepted", "request": str(AccessRequest.objects.get().pk)})
    at_the_door.post("/acme/guarded/access", {"action": "gate", "gated": ""})
    assert b"has not answered" in at_the_door.get("/acme/guarded/access").content
    (row,) = alice.get(f"{base}/pending").json()
    assert (row["user"]["user"], row["fields"], row["status"]) == ("charlie", {"text": "research"}, "pending")
    assert (
        charlie.get(f"{base}/pending").status_code == 403 and as_(people.bob).get(f"{base}/pending").status_code == 403
    )
    assert post(charlie, f"{base}/handle", user="charlie", status="accepted").status_code == 403
    assert post(charlie, f"{base}/grant", user="charlie").status_code == 403
    assert post(alice, f"{base}/handle", user="charlie", status="accepted").json()["status"] == "accepted"
    assert charlie.get("/acme/guarded/resolve/main/README.md").status_code == 200
    assert rights.can(people.actor("charlie"), Verb.PROPOSE, repo) and not rights.can(
        people.actor("charlie"), Verb.WRITE, repo
    )
    assert (
        post(alice, f"{base}/handle", requestId=row["requestId"], status="rejected", rejectionReason="no").status_code
        == 200
    )
    assert charlie.get("/acme/guarded/resolve/main/README.md").status_code == 403
    assert b"declined: no" in at_the_door.get("/acme/guarded/access").content
    assert [len(alice.get(f"{base}/{state}").json()) for state in ("pending", "accepted", "rejected")] == [0, 0, 1]
    assert post(alice, f"{base}/grant", user="Charlie").json()["status"] == "accepted"
    for bad, status in (
        ({"user": "nobody", "status": "accepted"}, 404),
        ({"user": "charlie", "status": "maybe"}, 422),
        ({}, 404),
    ):
        assert post(alice, f"{base}/handle", **bad).status_code == status
    assert alice.get(f"{base}/odd").status_code == 404


def test_who_asks_an_open_gate_is_in_and_a_private_repo_has_no_door(people: People, repo: Repo) -> None:
    alice, charlie = people.actor("alice"), people.actor("charlie")
    access.set_gate(actor=alice, repo=repo, gated="auto")
    assert access.ask(actor=charlie, repo=repo).state == "accepted"
    assert Repo.objects.visible_to(charlie).filter(pk=repo.pk).exists()
    Repo.objects.filter(pk=repo.pk).update(private=True)
    assert not Repo.objects.known_to(charlie).filter(pk=repo.pk).exists()
    assert not rights.can(charlie, Verb.READ, Repo.objects.get(pk=repo.pk))
    unknown, hidden = (as_(people.charlie).get(f"/api/models/acme/{name}") for name in ("never", "guarded"))
    assert (hidden.status_code, hidden.content) == (unknown.status_code, unknown.content)
    assert browser(people.charlie).get("/acme/guarded/access").status_code == 404
    with pytest.raises(access.NotGated):
        access.ask(actor=charlie, repo=make_repo(people.alice, "open"))
    as_alice = as_(people.alice)
    answer: Any = as_alice.put(
        "/api/models/acme/guarded/settings", json.dumps({"gated": "sometimes"}), content_type="application/json"
    )
    assert answer.status_code == 422


def test_both_answers_to_who_may_read_agree(people: People, repo: Repo) -> None:
    """The queryset and the single question are two forms of one rule."""
    for gated in ("", "auto", "manual"):
        for private in (False, True):
            for state in ("pending", "accepted", "rejected"):
                Repo.objects.filter(pk=repo.pk).update(gated=gated, private=private)
                AccessRequest.objects.update_or_create(repo=repo, account=people.charlie, defaults={"state": state})
                row = Repo.objects.select_related("owner").get(pk=repo.pk)
                for name in (None, "alice", "bob", "charlie", "mary"):
                    actor = people.actor(name)
                    listed = Repo.objects.visible_to(actor).filter(pk=repo.pk).exists()
                    assert listed == rights.can(actor, Verb.READ, row), (gated, private, state, name)
