"""Collections as the client keeps them: read back through its own classes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from huggingface_hub.hf_api import Collection

from hub.collections import keeping
from hub.repos.models import Kind
from tests.people import People, make_people, make_repo
from tests.wire.test_wire_routes import as_, queries

ROOT = "/api/collections"


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def send(client: Client, method: str, address: str, **body: Any) -> Any:
    return getattr(client, method)(address, json.dumps(body), content_type="application/json")


def test_the_life_of_a_collection(people: People) -> None:
    alice, bob, charlie = as_(people.alice), as_(people.bob), as_(people.charlie)
    make_repo(people.alice, "open")
    make_repo(people.alice, "hidden", private=True)
    make_repo(people.alice, "task", kind=Kind.TASK)
    made = Collection(**send(alice, "post", ROOT, title="Good ones!", namespace="alice", description="Mine").json())
    assert made.slug.startswith("alice/good-ones-") and (made.private, made.items) == (False, [])
    again = send(alice, "post", ROOT, title="Good ones!", namespace="alice")
    assert (again.status_code, again.json()["slug"]) == (409, made.slug)
    one = f"{ROOT}/{made.slug}"
    for kind, name in (("model", "alice/open"), ("model", "alice/hidden"), ("dataset", "Alice/Task")):
        answer = send(alice, "post", f"{one}/items", item={"type": kind, "id": name}, note=f"about {name}")
        assert answer.status_code == 200
    assert send(alice, "post", f"{one}/items", item={"type": "model", "id": "alice/open"}).status_code == 409
    whole, part = Collection(**alice.get(one).json()), Collection(**charlie.get(one).json())
    assert [item.item_id for item in whole.items] == ["alice/open", "alice/hidden", "alice/task"]
    assert [item.item_id for item in part.items] == ["alice/open", "alice/task"]
    assert (part.items[1].item_type, part.items[1].note) == ("dataset", "about Alice/Task")
    last = whole.items[2].item_object_id
    assert (
        send(alice, "patch", f"{one}/items/{whole.items[0].item_object_id}", position=9, note="last").status_code == 200
    )
    assert Collection(**alice.get(one).json()).items[2].item_id == "alice/open"
    changed = send(alice, "patch", one, title="Better", private=True, theme="green").json()["data"]
    assert (Collection(**changed).title, changed["slug"][-24:]) == ("Better", made.slug[-24:])
    assert charlie.get(one).status_code == Client().get(one).status_code == 404
    assert alice.get(one).status_code == 200  # the old words of the slug still lead there
    assert [row["title"] for row in alice.get(f"{ROOT}?owner=alice&item=models/alice/open").json()] == ["Better"]
    assert Client().get(f"{ROOT}?owner=alice").json() == []
    for method, address in (
        ("patch", one),
        ("delete", one),
        ("post", f"{one}/items"),
        ("delete", f"{one}/items/{last}"),
    ):
        assert send(charlie, method, address).status_code == 404
        assert (
            send(
                as_(people.alice, scope="read"), method, address, item={"type": "dataset", "id": "alice/task"}
            ).status_code
            == 403
        )
    assert send(alice, "delete", f"{one}/items/{last}").status_code == 200
    assert send(alice, "delete", one).status_code == 200 and alice.get(one).status_code == 404
    ours = send(bob, "post", ROOT, title="Ours", namespace="acme", private=True).json()
    assert (
        alice.get(f"{ROOT}/{ours['slug']}").status_code == 200
        and charlie.get(f"{ROOT}/{ours['slug']}").status_code == 404
    )
    assert send(charlie, "post", ROOT, title="x", namespace="acme").status_code == 403


def test_lists_go_on_and_bad_input_is_refused(people: People) -> None:
    alice = as_(people.alice)
    for number in range(3):
        send(alice, "post", ROOT, title=f"c{number}", namespace="alice")
    first = Client().get(f"{ROOT}?owner=alice&limit=2")
    following = first.headers["Link"].partition("<")[2].partition(">")[0].removeprefix("http://testserver")
    rows = [Collection(position=0, **row).title for answer in (first, Client().get(following)) for row in answer.json()]
    assert rows == ["c2", "c1", "c0"]
    for owners, count in (("owner=alice&owner=bob", 3), ("owner[]=acme&owner[]=bob", 0), ("owner=acme&owner=alice", 3)):
        assert len(Client().get(f"{ROOT}?{owners}").json()) == count, owners
    slug = first.json()[0]["slug"]
    assert send(alice, "post", f"{ROOT}/{slug}/resource-group", resourceGroupId="x").status_code == 501
    make_repo(people.alice, "held"), make_repo(people.alice, "hidden", private=True)
    for name in ("held", "hidden"):
        send(alice, "post", f"{ROOT}/{slug}/items", item={"type": "model", "id": f"alice/{name}"})
    for items, count in (
        ("item=models/alice/held", 1), ("item=models/x/y&item=models/alice/held", 1), ("item=models/alice/hidden", 0),
        ("item=datasets/alice/held", 0),
    ):  # fmt: skip
        assert len(Client().get(f"{ROOT}?{items}").json()) == count, items
    for bad in (
        {"title": ""},
        {"title": 1},
        {"title": "x" * 200},
        {"title": "x", "theme": []},
        {"title": "x", "position": -1},
    ):
        assert send(alice, "post", ROOT, **bad).status_code in (400, 422), bad
    for bad in ({}, {"item": 1}, {"item": {"type": "paper", "id": "a/b"}}, {"item": {"type": "model", "id": "x"}},
                {"item": {"type": [], "id": "a/b"}}):  # fmt: skip
        assert send(alice, "post", f"{ROOT}/{slug}/items", **bad).status_code == 422, bad
    assert send(alice, "post", f"{ROOT}/{slug}/items", item={"type": "model", "id": "no/body"}).status_code == 404
    assert Client().post(ROOT, b"{}", content_type="application/json").status_code == 401


def test_a_list_takes_as_many_queries_however_long_it_is(people: People) -> None:
    repos = [make_repo(people.alice, f"r{n}", private=n == 0) for n in range(6)]
    charlie, seen = as_(people.charlie), []
    for count in (1, 12):
        for n in range(count):
            row = keeping.create(actor=people.actor("alice"), owner=people.alice, title=f"C{count}-{n}")
            for repo in repos:
                keeping.add(actor=people.actor("alice"), row=row, repo=repo, note="")
        seen.append(queries(charlie, ROOT))
    assert [number for number, _answer in seen] == [3, 3]
    listed = seen[1][1].json()
    assert len(listed) == 13
    assert {tuple(item["id"] for item in row["items"]) for row in listed} == {
        tuple(f"alice/r{n}" for n in (1, 2, 3, 4))  # the first of those that he may see
    }
