"""Gated repos are found by everybody and asked for; who keeps them is told and answers in one place."""

import pytest
from django.test import Client

from hub import rights
from hub.activity.models import Notice
from hub.repos import access, copying
from hub.repos.models import Repo
from hub.rights import Verb
from tests.markup import markup
from tests.people import PASSWORD, People, make_repo, put
from tests.world import client


@pytest.fixture
def gated(people: People) -> Repo:
    repo = make_repo(people.acme, "guarded", by=people.alice)
    put(people.alice, repo, {"README.md": b"---\nlicense: mit\n---\nhush"})
    access.set_gate(actor=people.actor("alice"), repo=repo, gated="manual")
    return repo


def test_a_copy_by_somebody_let_in_is_no_open_door(people: People, gated: Repo) -> None:
    access.grant(actor=people.actor("alice"), repo=gated, account=people.charlie)
    copy = copying.duplicate(actor=people.actor("charlie"), source=gated, owner=people.charlie, name="copy")
    assert copy.private
    for name in ("bob", None):
        assert not rights.can(people.actor(name), Verb.READ, copy)


def browser(name: str | None) -> Client:
    made = Client()
    assert name is None or made.login(username=name, password=PASSWORD)
    return made


def test_found_with_a_lock_and_not_read(people: People, gated: Repo) -> None:
    for name in (None, "charlie"):
        page = markup(browser(name).get("/browse?q=guarded"))
        assert "acme/<b>guarded</b>" in page and "gated</span>" in page and "hush" not in page
        who = client(getattr(people, name) if name else None)
        rows = who.get("/api/v1/repos?q=guarded").json()["results"]
        assert [(row["name"], row["gated"]) for row in rows] == [("guarded", "manual")]
        assert (rows[0]["summary"], who.get("/api/v1/repos?q=hush").json()["count"]) == ("", 0)
        assert who.get("/api/v1/repos/acme/guarded").status_code == 404
    assert "guarded" in markup(browser(None).get("/acme"))
    Repo.objects.filter(pk=gated.pk).update(private=True)
    assert "guarded</b>" not in markup(browser("charlie").get("/browse?q=guarded"))
    assert client(people.charlie).get("/api/v1/repos?q=guarded").json()["count"] == 0
    asked = client(people.charlie).post("/api/v1/repos/acme/guarded/access-requests", {}, format="json")
    assert asked.status_code == 404, "what is private is absent, gated or not"


def test_asked_told_and_answered(people: People, gated: Repo) -> None:
    path = "/api/v1/repos/acme/guarded/access-requests"
    made = client(people.charlie).post(path, {"text": "For a study."}, format="json")
    assert made.status_code == 201 and made.json()["state"] == "pending"
    client(people.charlie).post(path, {}, format="json")
    told = Notice.objects.get(kind="access")
    assert (told.account, told.text) == (people.alice, "charlie asks to read acme/guarded")
    assert told.url == "/acme/guarded/access"
    assert client(people.bob).get("/api/v1/access-requests").json()["count"] == 0, "Bob only writes for Acme"
    assert client(people.alice).get("/api/v1/access-requests").json()["results"][0]["account"] == "charlie"
    assert client(people.charlie).get(path).status_code == 403
    assert client(people.charlie).put(f"{path}/charlie", {"state": "accepted"}, format="json").status_code == 403

    alice = browser("alice")
    page = markup(alice.get("/settings/access"))
    assert "charlie" in page and "For a study." in page
    request = access.every_request(people.actor("alice"), gated).get()
    sent = alice.post("/acme/guarded/access", {"action": "rejected", "request": request.pk, "back": "1"})
    assert (sent.status_code, sent["Location"]) == (302, "/settings/access")
    assert "charlie" not in markup(alice.get("/settings/access")).split("<main", 1)[-1]
    heard = markup(browser("charlie").get("/notices"))
    assert "You were not let into acme/guarded" in heard
    answered = client(people.alice).put(f"{path}/charlie", {"state": "accepted"}, format="json")
    assert answered.json()["state"] == "accepted"
    assert "You may now read acme/guarded" in markup(browser("charlie").get("/notices"))
    assert client(people.charlie).get("/api/v1/repos/acme/guarded").status_code == 200
    assert client(people.alice).put(f"{path}/nobody", {"state": "accepted"}, format="json").status_code == 404
    shut = client(people.alice).put("/api/v1/repos/acme/guarded/gate", {"gated": ""}, format="json")
    assert shut.json() == {"gated": ""}
