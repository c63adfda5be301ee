"""Every address of the wire, found from the addresses themselves: strangers learn nothing, and nonsense never breaks it."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern

from hub.jobs import queue
from hub.repos import lifecycle
from hub.repos.models import Kind, Repo
from hub.review import change_requests
from hub.wire.urls import urlpatterns
from tests.people import People, make_people, make_repo, put
from tests.wire.test_wire_routes import as_

METHODS = ("get", "head", "post", "put", "patch", "delete")
SECRET = "hush"
NONSENSE: tuple[tuple[bytes, str], ...] = (
    (b"", "application/json"),
    (b"{", "application/json"),
    (b"[]", "application/json"),
    (b"[" * 5000, "application/json"),
    (b'{"a": NaN}', "application/json"),
    (b"\xff\xfe\x00", "application/json"),
    (b'{"key": "header", "value": 1}\n{"key": "file"}', "application/x-ndjson"),
    (b"a=1&paths=\x00&paths=..&expand=maybe", "application/x-www-form-urlencoded"),
    (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
)
FIELDS = (
    "name organization type visibility private sdk fromRepo toRepo repository gated content title description pullRequest "
    "comment status startingPoint tag message files operation objects transfers oid size paths url watched domains secret "
    "grant_type device_code refresh_token client_id deletions user requestId slug item namespace theme position"
).split()
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e300,
    "",
    "x" * 5000,
    "\x00",
    "../..",
    "\ud800",
    [],
    [None],
    [{}],
    {},
    {"a": {}},
)


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def parts(owner: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "owner": owner, "name": name, "repokind": "models", "revision": "main", "branch": SECRET, "path": "README.md",
        "number": 1, "key": "1", "verb": "write", "ticket": "x", "rest": "x", "revisions": "main..main", "namespace": owner,
        "job": uuid.uuid4(), "action": "enable", "slug": "x", "status": "pending", "item": "x",
    } | more  # fmt: skip


def addresses(values: dict[str, Any], *, once: bool = False) -> Iterator[tuple[str, URLPattern]]:
    """Every address with these values; with `once`, one for each view."""
    seen: set[Any] = set()
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        names = pattern.pattern.converters  # type: ignore[attr-defined]
        route = str(pattern.pattern)
        for name, converter in names.items():
            kind = {"RevisionConverter": "revision", "InsideConverter": "inside", "KindConverter": "repokind"}.get(
                type(converter).__name__,
                {"IntConverter": "int", "UUIDConverter": "uuid", "PathConverter": "path"}.get(
                    type(converter).__name__, "str"
                ),
            )
            route = route.replace(f"<{kind}:{name}>", str(values.get(name, 1 if kind == "int" else "a" * 64)))
        assert "<" not in route, route
        if once and pattern.callback in seen:
            continue
        seen.add(pattern.callback)
        yield "/" + route, pattern


def say(client: Client, method: str, address: str, body: bytes = b"", kind: str = "application/json") -> Any:
    call = getattr(client, method)
    return call(address) if method in ("get", "head") else call(address, body, content_type=kind)


def text_of(answer: Any) -> str:
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return body.decode(errors="replace") + str(dict(answer.headers))


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_strangers_learn_nothing(people: People, kind: str) -> None:
    """A private repo's answers are those of a repo that never was, to the byte."""
    repo = make_repo(people.alice, SECRET, kind=Kind.TASK if kind == "datasets" else Kind.ADAPTER, private=True)
    put(people.alice, repo, {"README.md": b"---\nlicense: hush\n---\nhush"})
    lifecycle.create_branch(actor=people.actor("alice"), repo=repo, name=SECRET)
    change_requests.open_change_request(actor=people.actor("alice"), repo=repo, title=SECRET, description=SECRET)
    job = queue.enqueue("merges.merge", title=SECRET, arguments={}, owner=people.alice, repo=repo)
    there = parts("alice", SECRET, repokind=kind, job=job.pk)
    nowhere = parts("alice", "other", repokind=kind)
    checked = 0
    for who in (None, "charlie"):
        client = as_(people.charlie) if who else Client()
        for (address, _), (other, _) in zip(addresses(there), addresses(nowhere), strict=True):
            if f"/{kind}/" not in address and SECRET not in address:
                continue
            for method in METHODS:
                answer, control = say(client, method, address), say(client, method, other)
                assert answer.status_code == control.status_code, (method, address)
                said = (
                    text_of(answer)
                    .replace(f"alice/{SECRET}", "")
                    .replace(SECRET, "hush" if "hush" not in address else "")
                )
                assert "hush" not in said, (method, address, said)
                checked += 1
    assert checked > 300
    repo.refresh_from_db()
    assert (repo.name, repo.private, repo.likes, Repo.objects.count()) == (SECRET, True, 0, 1)


def test_read_tokens_change_nothing(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"README.md": b"hello"})
    row = change_requests.open_change_request(actor=people.actor("charlie"), repo=repo, title="T")
    reader = as_(people.alice, scope="read")
    reading = (
        "preupload",
        "telemetry",
        "paths-info",
        "validate-yaml",
        "oauth",
        "locks",
        "git-upload-pack",
        "objects/batch",
        "followers",
    )
    for address, _pattern in addresses(parts("alice", "x", number=row.number)):
        if any(word in address for word in reading):
            continue
        for method in ("post", "put", "delete"):
            assert say(reader, method, address, b'{"repository": "alice/y", "name": "y"}').status_code >= 400, (
                method,
                address,
            )


def test_nonsense_is_answered_in_words(people: People) -> None:
    """4xx (or 501 for what is not offered) with a sentence; never a 5xx that a client would try again for half a minute."""
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"README.md": b"hello", "d/a.txt": b"1"})
    change_requests.open_change_request(actor=people.actor("alice"), repo=repo, title="T")
    alice = as_(people.alice)
    alice.raise_request_exception = False
    odd = parts("alice", "x", branch="br", revision="\x00", path="\x00/..//é\ud7ff", key="\x00", verb="%00", ticket="é:é",
                rest="..", revisions="a..b", namespace="\x00", slug="%2e", status="odd", item="\x00")  # fmt: skip
    for values in (parts("alice", "x", branch="br"), odd):
        for address, _pattern in addresses(values, once=True):
            quoted = address.replace("\x00", "%00").replace("\ud7ff", "")
            bodies = NONSENSE if values is not odd else NONSENSE[:3]
            for method, (body, kind) in itertools.product(("post", "put"), bodies):
                _sound(say(alice, method, quoted, body, kind), method, quoted, body)
            for query in (
                "",
                "?cursor=%00&limit=-1&p=-1&expand=%00&filter=%00&search=%00&sort=%00&author=%00&status=%00&recursive=%00&service=x&tail=x&stage=%00&label=%00",
            ):
                _sound(say(alice, "get", quoted + query), "get", quoted + query, b"")
    assert Repo.objects.filter(pk=repo.pk).exists()


def test_every_field_with_every_wrong_value(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"README.md": b"hello"})
    change_requests.open_change_request(actor=people.actor("alice"), repo=repo, title="T")
    alice = as_(people.alice)
    alice.raise_request_exception = False
    for address, _pattern in addresses(parts("alice", "x", branch="br"), once=True):
        for value in VALUES:
            body = json.dumps(dict.fromkeys(FIELDS, value)).encode()
            for method in ("post", "put") if "settings" in address or "collections" in address else ("post",):
                _sound(say(alice, method, address, body), method, address, body)


def _sound(answer: Any, method: str, address: str, body: bytes) -> None:
    status = answer.status_code
    assert status < 500 or status == 501, (status, method, address, body[:200], text_of(answer)[:500])
    if 400 <= status < 500 and status != 405 and method != "head" and address.startswith("/api/"):
        assert answer.json()["error"], (method, address)
