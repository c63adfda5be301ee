"""Every address of the site, found from the addresses themselves, asked and posted to with values that a database or
`int` would choke on: the answer is a page or a sentence, never a fault."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.people import PASSWORD, People
from tests.world import World

NAMES = (
    "q query owner name page page_size p limit search author filter revision path item kind status state type model task "
    "base left right from steps tail days number key request comment canned reply text to back method adapter suite since "
    "before after label stage tensor layer module group language license format repo account list subject form draft range"
).split()
"""Whatever a view here may read from a query."""

ZERO_BYTE, SUPERSCRIPT, LARGE = "%00", "%C2%B2", "9" * 30
"""The second is a digit to `str.isdigit` and no number to `int`."""

QUERIES = (
    *("&".join(f"{name}={value}" for name in [*NAMES, "sort", "cursor"]) for value in (ZERO_BYTE, SUPERSCRIPT, LARGE)),
    "sort=downloads&cursor=W0luZmluaXR5LCIxIl0=",  # [Infinity,"1"]
)


FORM_FIELD = re.compile(r'(?:\bget|getlist|POST|asked)[\[(]"(\w+)"|^    (\w+) = forms\.', re.MULTILINE)
LONG = "x" * 9_000


def fields() -> set[str]:
    """Whatever a page here may read from a form, found in the code."""
    root = Path(settings.BASE_DIR)
    files = [*root.glob("hub/**/*.py"), *root.glob("adapters/**/*.py"), *root.glob("merges/**/*.py")]
    code = "".join(file.read_text() for file in files if "pages" in file.parts or file.name == "forms.py")
    return {*NAMES, *(one or two for one, two in FORM_FIELD.findall(code))}


def routes(patterns: list[Any] | None = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(route, view) of all addresses."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, getattr(pattern.callback, "cls", pattern.callback)


def filled(route: str, world: World, odd: str = "") -> Iterator[str]:
    """The address of what is Alice's; with `odd`, once for each part that takes any text, with that text there."""
    task = "datasets" in route or "tasks/" in route or "leaderboards/" in route
    own = {
        "owner": "alice", "name": world.task.name if task else world.adapter.name, "account": "alice", "namespace": "alice",
        "repokind": "models", "number": str(world.request.number), "path": "README.md", "inside": "README.md",
        "revisions": "main..main", "slug": world.collected.collection.slug, "sha": world.adapter.head,
        "uuid": str(world.job.pk), "int": "1",
    }  # fmt: skip
    parts = re.findall(r"<(?:(\w+):)?(\w+)>", route)
    usual = {name: own.get(name) or own.get(kind) or "main" for kind, name in parts}
    open_to_all = [name for kind, name in parts if kind not in ("int", "uuid", "repokind", "slug")]
    for place in open_to_all if odd else [""]:
        values = usual | {place: odd}
        yield "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match, values=values: values[match[1]], route)


@pytest.fixture(autouse=True)
def no_rate_limits(settings: Any) -> None:
    settings.RATE_LIMITS = False


def test_no_address_breaks(people: People, world: World) -> None:
    browser = Client(raise_request_exception=False)
    assert browser.login(username="alice", password=PASSWORD)
    broken: list[str] = []
    seen: set[Any] = set()
    for route, view in routes():
        if view in seen:
            continue
        seen.add(view)
        addresses = [f"{next(filled(route, world))}?{query}" for query in QUERIES]
        addresses += [address for value in (ZERO_BYTE, SUPERSCRIPT) for address in filled(route, world, value)]
        for address in addresses:
            with transaction.atomic():
                status = browser.get(address).status_code
                transaction.set_rollback(True)
            if status == 500:  # 501 and 503 are said on purpose
                broken.append(address[:200])
    assert len(seen) > 150
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("value", [LARGE, LONG], ids=["large", "long"])
def test_no_form_breaks(people: People, world: World, value: str) -> None:
    browser = Client(raise_request_exception=False)
    assert browser.login(username="alice", password=PASSWORD)
    names = fields() - {"check", "check_join"}  # these buttons only look
    assert {"target", "examples", "title", "text", "message", "license"} <= names
    broken: list[str] = []
    for route, view in dict(routes()).items():
        if route.startswith(("api/", "admin/")) or getattr(view, "csrf_exempt", False):
            continue
        address = next(filled(route, world))
        with transaction.atomic():
            status = browser.post(address, dict.fromkeys(names, value)).status_code
            transaction.set_rollback(True)
        if status == 500:
            broken.append(address)
    assert not broken, "\n".join(broken)


def test_a_form_with_a_zero_byte_is_refused(people: People, world: World) -> None:
    browser = Client(raise_request_exception=False)
    assert browser.login(username="alice", password=PASSWORD)
    with transaction.atomic():
        answer = browser.post("/teach", {"target": "\0/x", "examples": "a\tb\nc\td"})
        transaction.set_rollback(True)
    assert answer.status_code == 400
    assert "no zero bytes" in answer.content.decode()
