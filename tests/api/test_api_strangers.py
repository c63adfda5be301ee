"""What a stranger can learn of a private repo through any address of the API: nothing, not even that it is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from hub.accounts.models import Account
from hub.accounts.tokens import create_token
from hub.repos.changes import Inline, Put, Stored
from hub.repos.commits import commit
from hub.repos.models import Kind, Repo
from hub.review.change_requests import propose
from hub.store.blobs import store_bytes
from tests.people import People, make_people, make_repo, put

VALUES = {
    "number": "1", "comment": "1", "sign": "heart", "ref": "main", "path": "README.md",
    "upload": "00000000-0000-4000-8000-000000000000", "account": "charlie",
}  # fmt: skip
METHODS = ("get", "post", "put", "patch", "delete")
BODY = {
    "owner": "charlie", "name": "taken", "type": "branch", "title": "A title", "text": "Some words",
    "verdict": "reject", "sha": "0" * 40, "reason": "Because", "path": "README.md", "size": 3, "sha256": "0" * 64,
    "message": "Take it", "files": [{"path": "README.md", "content": "x"}], "state": "closed", "private": False,
}  # fmt: skip
"""Good enough for every view, so that each of them comes to look for the repo."""


OTHER = [Put("README.md", Inline(b"---\nlicense: mit\n---\nother words\n"))]


def patterns(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every address of the hub as Django's own text, with its pattern."""
    for item in resolver.url_patterns:
        text = before + str(item.pattern)
        if isinstance(item, URLResolver):
            yield from patterns(item, text)
        else:
            yield text, item


def addresses(kind: str, repo: Repo) -> list[tuple[str, type]]:
    """Every address of the API below a repo of this kind, and the view behind it."""
    values = VALUES | {"owner": repo.owner.name, "name": repo.name, "sha": repo.head}
    found = []
    for text, pattern in patterns(get_resolver()):
        if text.startswith(f"api/v1/{kind}/<str:owner>/<str:name>"):
            address = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values[match[1]], text)
            found.append((f"/{address}", pattern.callback.view_class))
    return found


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def secrets(people: People) -> dict[str, Repo]:
    """A private adapter and a private task of Alice's, each with a commit and a change request."""
    made = {}
    for kind, of in (("repos", Kind.ADAPTER), ("tasks", Kind.TASK)):
        repo = make_repo(people.alice, "hidden-thing", kind=of, private=True)
        put(people.alice, repo, {"README.md": b"---\nlicense: mit\n---\nhidden words\n"})
        repo.refresh_from_db()
        propose(actor=people.actor("alice"), repo=repo, changes_=OTHER, title="hidden title")
        made[kind] = repo
    return made


def adapter_weights() -> bytes:
    """A small safetensors file."""
    header = b'{"x":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'
    return len(header).to_bytes(8, "little") + header + bytes(range(64))


def client_of(account: Account | None, **token: object) -> Client:
    """Somebody with a token, or nobody."""
    if account is None:
        return Client()
    return Client(headers={"Authorization": f"Bearer {create_token(account=account, label='test', **token)[1]}"})


@pytest.mark.parametrize("kind", ["repos", "tasks"])
@pytest.mark.parametrize("who", [None, "charlie", "bob", "mary", "token for another repo"])
def test_every_address_of_a_private_repo_answers_as_one_of_no_repo(
    people: People, secrets: dict[str, Repo], kind: str, who: str | None
) -> None:
    if who == "token for another repo":
        client = client_of(people.alice, repos=["alice/another"])
    else:
        client = client_of(getattr(people, who) if who else None)
    routes = addresses(kind, secrets[kind])
    assert len(routes) > 20
    for address, view in routes:
        for method in METHODS:
            answer, absent = (
                getattr(client, method)(place, data=BODY, content_type="application/json")
                for place in (address, address.replace("hidden-thing", "missing-thing"))
            )
            assert (answer.status_code, answer.content) == (absent.status_code, absent.content), (method, address)
            # Nobody is asked to sign in before a change; which repo it is about was not looked at.
            allowed = {404, 405, 401} if who is None and method != "get" else {404, 405}
            assert answer.status_code in allowed, (method, address, answer.content[:300])
            assert answer.status_code != 405 or not hasattr(view, method) or method not in view.http_method_names


def test_the_owner_finds_what_the_stranger_does_not(people: People, secrets: dict[str, Repo]) -> None:
    client = client_of(people.alice)
    for kind, repo in secrets.items():
        found = [client.get(address).status_code for address, view in addresses(kind, repo) if hasattr(view, "get")]
        assert found.count(200) + found.count(302) >= 14, found


def test_no_list_names_what_is_private(people: People, secrets: dict[str, Repo]) -> None:
    lists = [
        text.removesuffix("$")
        for text, _pattern in patterns(get_resolver())
        if text.startswith("api/v1/") and "<" not in text and "schema" not in text and "docs" not in text
    ]
    assert {"api/v1/repos", "api/v1/facets", "api/v1/jobs", "api/v1/queue", "api/v1/activity"} <= set(lists)
    for who in (None, people.charlie, people.mary):
        client = client_of(who)
        for address in lists:
            answer = client.get(f"/{address}?q=hidden")
            assert b"hidden" not in answer.content, (who, address, answer.content[:300])
    assert b"hidden" in client_of(people.alice).get("/api/v1/repos").content


def test_bytes_of_a_private_repo_are_not_said_to_be_here(people: People, secrets: dict[str, Repo]) -> None:
    """Else anybody could ask which files private repos hold, and take them by their hash."""
    data = adapter_weights()
    blob = store_bytes(data)
    secret = secrets["repos"]
    commit(
        actor=people.actor("alice"), repo=secret, changes_=[Put("adapter_model.safetensors", Stored(blob))], message="x"
    )
    make_repo(people.charlie, "mine")
    client = client_of(people.charlie)
    base = "/api/v1/repos/charlie/mine"
    asked = {"path": "adapter_model.safetensors", "size": len(data), "sha256": blob.sha256}
    plan = client.post(f"{base}/uploads", asked, content_type="application/json").json()
    assert plan["present"] is False
    assert plan["upload"] and plan["parts"][0]["url"]
    for source in ({"sha256": blob.sha256}, {"upload": plan["upload"]}):
        body = {"message": "take", "parent": None, "files": [{"path": "adapter_model.safetensors", **source}]}
        answer = client.post(f"{base}/commit", body, content_type="application/json")
        assert answer.status_code == 422, (source, answer.content)
    own = client_of(people.alice).post(
        "/api/v1/repos/alice/hidden-thing/uploads", asked, content_type="application/json"
    )
    assert own.json()["present"] is True
