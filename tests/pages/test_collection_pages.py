"""Collections on their pages and over REST: made, filled from a repo's page, seen by whom they are for."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.collections import keeping
from hub.collections.models import Collection
from tests.markup import markup
from tests.people import PASSWORD, People, make_people, make_repo, put
from tests.world import client


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def browser(name: str) -> Client:
    made = Client()
    assert made.login(username=name, password=PASSWORD)
    return made


def test_filled_from_a_repos_page(people: People) -> None:
    for name, private in (("open", False), ("closed", True)):
        put(people.alice, make_repo(people.alice, name, private=private), {"README.md": b"# Words"})
    alice = browser("alice")
    assert "/collections?add=alice/open" in markup(alice.get("/alice/open"))
    begun = alice.post("/collections?add=alice/open", {"title": "Good ones", "owner": "alice"})
    row = Collection.objects.get()
    assert (begun.status_code, begun["Location"]) == (302, f"/collections/{row.slug}")
    assert "Good ones" in markup(alice.get("/collections?add=alice/closed"))
    alice.post(f"/collections/{row.slug}", {"action": "add", "repo": "alice/closed", "note": "for later"})
    page = markup(alice.get(f"/collections/{row.slug}"))
    assert "<b>open</b>" in page and "<b>closed</b>" in page and "for later" in page
    assert 'value="alice/closed"' in page  # the field suggests it
    wrong = alice.post(f"/collections/{row.slug}", {"action": "add", "repo": "alice/clsed"}, follow=True)
    assert "There is no such repo" in markup(wrong) and row.items.count() == 2
    seen = markup(browser("charlie").get(f"/collections/{row.slug}"))
    assert "<b>open</b>" in seen and "closed" not in seen and "Change it" not in seen
    assert "1 repo" in markup(browser("charlie").get("/collections"))
    refused = browser("charlie").post(f"/collections/{row.slug}", {"action": "delete"})
    assert refused.status_code == 302 and Collection.objects.exists()
    item = row.items.get(repo__name="open")
    alice.post(f"/collections/{row.slug}", {"action": "remove", "item": item.key})
    alice.post(f"/collections/{row.slug}", {"action": "save", "title": "Mine", "description": "", "private": "on"})
    row.refresh_from_db()
    assert (row.title, row.private, row.items.count()) == ("Mine", True, 1)
    assert browser("charlie").get(f"/collections/{row.slug}").status_code == 404
    assert "Mine" not in markup(browser("charlie").get("/collections"))
    assert alice.post("/collections", {"title": "", "owner": "alice"}).status_code == 422
    assert alice.post(f"/collections/{row.slug}", {"action": "delete"})["Location"] == "/collections"


def test_over_rest(people: People) -> None:
    put(people.alice, make_repo(people.alice, "open"), {"README.md": b"# Words"})
    alice, charlie, path = client(people.alice), client(people.charlie), "/api/v1/collections"
    made = alice.post(path, {"title": "Good ones", "description": "All of them"}, format="json")
    assert made.status_code == 201
    one = f"{path}/{made.json()['key']}"
    item = alice.post(f"{one}/items", {"repo": "alice/open", "note": "first"}, format="json")
    assert item.status_code == 201 and item.json()["note"] == "first"
    shown = charlie.get(one).json()
    assert [line["repo"] for line in shown["items"]] == ["alice/open"]
    for method, address, body in (("post", f"{one}/items", {"repo": "alice/open"}), ("patch", one, {"title": "x"}),
                                  ("delete", one, {}), ("delete", f"{one}/items/{item.json()['key']}", {})):  # fmt: skip
        assert getattr(charlie, method)(address, body, format="json").status_code == 403, (method, address)
    assert charlie.post(path, {"title": "x", "owner": "alice"}, format="json").status_code == 403
    assert alice.patch(f"{one}/items/{item.json()['key']}", {"position": 4}, format="json").json()["position"] == 4
    assert alice.patch(one, {"private": True}, format="json").json()["private"] is True
    assert charlie.get(one).status_code == 404
    assert alice.post(path, {"title": " "}, format="json").status_code in (400, 422)
    assert alice.delete(f"{one}/items/{item.json()['key']}").status_code == 204
    assert alice.delete(one).status_code == 204


def test_the_list_asks_as_often_for_twenty_as_for_two(people: People) -> None:
    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert Client().get("/collections").status_code == 200
        return len(queries)

    actor = people.actor("alice")
    for number in range(2):
        keeping.create(actor=actor, owner=people.alice, title=f"c{number}")
    before = count()
    for number in range(18):
        keeping.create(actor=actor, owner=people.alice, title=f"d{number}")
    assert count() == before
