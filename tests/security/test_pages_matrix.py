"""Every page of the site, asked for what is Alice's by everybody: generated from the resolver, so none is forgotten."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.people import PASSWORD, People
from tests.security.test_rights_matrix import state
from tests.world import World

PAGES = "merges.pages.urls"
VALUES = {"number": "1", "version": "1", "inside": "README.md", "revision": "main", "revisions": "main..main",
          "text": "none", "uuid": "0" * 8 + "-0000-4000-8000-" + "0" * 12, "path": "README.md"}  # fmt: skip

FORM_OF_WEBHOOKS = re.compile(r'(?:id|for|name)="secret[\w-]*"|under your secret\.')
"""A webhook is signed under a secret of its own; so says its form, which holds none."""


def pages(patterns: list[Any] | None = None, prefix: str = "", inside: bool = False) -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from pages(
                pattern.url_patterns, route, inside or getattr(pattern.urlconf_name, "__name__", "") == PAGES
            )
        elif inside and isinstance(pattern, URLPattern):
            yield route


def address(route: str, world: World) -> str:
    """A page's address with Alice's private things in it."""
    task = route.startswith(("datasets/", "leaderboards/"))
    own = {
        "owner": "alice",
        "name": world.task.name if task else world.adapter.name,
        "number": str(world.request.number),
    }
    if route.startswith("suites/"):
        own["name"] = "open"
    if "evaluations" in route:
        own["pk"] = str(world.judged.pk)
    elif "jobs" in route:
        own["pk"] = str(world.job.pk)

    def fill(match: re.Match[str]) -> str:
        kind, name = (match[1] or "str:").rstrip(":"), match[2]
        return own.get(name) or VALUES.get(name) or VALUES.get(kind) or ("1" if kind == "int" else "x")

    return "/" + re.sub(r"<(\w+:)?(\w+)>", fill, route)


@pytest.mark.parametrize("person", [None, "bob", "charlie", "mary"])
def test_strangers_read_nothing_private_on_any_page(people: People, world: World, person: str | None) -> None:
    browser = Client(raise_request_exception=True)
    if person:
        assert browser.login(username=person, password=PASSWORD)
    routes = list(pages())
    assert len(routes) > 40
    before = state()
    for route in routes:
        for method in ("get", "post"):
            where = address(route, world)
            with transaction.atomic():
                answer = getattr(browser, method)(where)
                body = b"" if answer.streaming else answer.content
                assert method == "get" or state() == before, (person, where)
                transaction.set_rollback(True)
            shown = FORM_OF_WEBHOOKS.sub("", body.decode(errors="replace").replace(where, ""))
            for asked in re.findall(r"[\w./-]*secret[\w./-]*", where):
                shown = shown.replace(asked, "")
            shown = (
                shown.replace("alice/secret-lora", "").replace("alice/secret-task", "")
                if answer.status_code == 404
                else shown
            )
            assert answer.status_code < 500, (person, method, where)
            assert "secret" not in shown, (person, method, where, answer.status_code)


def test_alice_reads_every_page_of_hers(people: People, world: World) -> None:
    browser = Client(raise_request_exception=True)
    assert browser.login(username="alice", password=PASSWORD)
    for route in pages():
        answer = browser.get(address(route, world))
        assert answer.status_code < 500, route
