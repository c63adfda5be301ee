"""Who gets what on every address: generated from the addresses themselves, so that a new one cannot be forgotten.

Every route below `/api/v1/` stands in ENTRIES with its methods and with who may reach it; every other part of the site
is named in ELSEWHERE with the tests that watch it. Strangers get 401, 403 or 404, and never the word `secret`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test.utils import override_settings
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from hub.accounts.models import Membership, Scope, Token
from hub.accounts.tokens import create_token
from hub.repos.models import Commit, Ref, Repo
from hub.review.models import ChangeRequest, Comment
from tests.people import People, put
from tests.world import World, browser, client

PREFIX = "api/v1/"
ELSEWHERE = {
    "allauth.urls": "allauth's own tests",
    "hub.wire.urls": "tests/wire",
    "adapters.api.openai_urls": "tests/api/test_api_asking.py",
    "merges.pages.urls": "tests/pages",
    "health/alive": "says nothing of anybody",
    "health/ready": "says nothing of anybody",
    "styleguide/": "invented content, only while developing",
}

# One repo's addresses, for both kinds: what strangers find is nothing.
IN_A_REPO = {
    "": "GET PATCH DELETE",
    "/move": "POST",
    "/like": "PUT DELETE",
    "/refs": "GET POST",
    "/refs/branches/<path:ref>": "DELETE",
    "/refs/tags/<path:ref>": "DELETE",
    "/tree": "GET",
    "/files/<path:path>": "GET",
    "/download/<path:path>": "GET",
    "/commits": "GET",
    "/commits/<str:sha>": "GET",
    "/commit": "POST",
    "/uploads": "POST",
    "/uploads/<uuid:upload>/finish": "POST",
    "/change-requests": "GET POST",
    "/change-requests/<int:number>": "GET PATCH",
    "/change-requests/<int:number>/diff": "GET",
    "/change-requests/<int:number>/comments": "POST",
    "/change-requests/<int:number>/comments/<int:comment>": "PUT DELETE",
    "/change-requests/<int:number>/conflicts": "GET POST",
    "/change-requests/<int:number>/merge": "POST",
    "/change-requests/<int:number>/decisions": "POST",
    "/change-requests/<int:number>/tensor-merge": "GET POST",
    "/change-requests/<int:number>/comments/<int:comment>/reactions/<str:sign>": "PUT DELETE",
    "/change-requests/<int:number>/notes": "GET POST",
    "/change-requests/<int:number>/hand-over": "POST",
    "/change-requests/<int:number>/subscription": "GET PUT",
    "/gate": "GET PUT",
    "/access-requests": "GET POST",
    "/access-requests/<str:account>": "PUT",
    "/standing": "GET PUT",
    "/activity": "GET",
    "/facts": "GET",
    "/checks": "GET",
    "/lineage": "GET",
    "/snippets": "GET",
    "/tensors": "GET",
    "/tensors/history": "GET",
    "/updates": "GET POST",
    "/relatives": "GET",
    "/embeddings": "GET",
}
ENTRIES: dict[str, tuple[str, str]] = {
    f"{kind}/<str:owner>/<str:name>{rest}": (methods, "hers")
    for kind in ("repos", "tasks")
    for rest, methods in IN_A_REPO.items()
} | {
    "jobs/<uuid:job>": ("GET", "hers"),
    "jobs/<uuid:job>/cancel": ("POST", "hers"),
    "merges/<int:merge>": ("GET", "hers"),
    "merge-comparisons/<int:comparison>": ("GET", "hers"),
    "merge-comparisons/<int:comparison>/publish": ("POST", "hers"),
    "merge-comparisons": ("GET POST", "list"),
    "merge-partners": ("GET", "list"),
    "statistics": ("POST", "list"),
    "evaluations/<int:evaluation>": ("GET", "hers"),
    "teachings/<int:teaching>": ("GET", "hers"),
    "teachings/<int:teaching>/compare": ("POST", "hers"),
    "evaluations/<int:evaluation>/items": ("GET", "hers"),
    "evaluations/<int:evaluation>/items.parquet": ("GET", "hers"),
    "evaluations/<int:evaluation>/lm-eval": ("GET", "hers"),
    "evaluations/matrix": ("POST", "list"),
    "evaluations/import": ("POST", "list"),
    "leaderboards/<str:owner>/<str:name>": ("GET", "hers"),
    "suites": ("GET POST", "list"),
    "systems": ("GET POST", "list"),
    "systems/<str:owner>/<str:name>": ("GET", "hers"),
    "systems/<str:owner>/<str:name>/proposals": ("POST", "hers"),
    "systems/<str:owner>/<str:name>/releases": ("GET", "hers"),
    "systems/<str:owner>/<str:name>/releases/<int:number>": ("GET", "hers"),
    "systems/<str:owner>/<str:name>/releases/<int:number>/rollback": ("POST", "hers"),
    "systems/<str:owner>/<str:name>/releases/<int:number>/release": ("POST", "hers"),
    "suites/<slug:suite>/<int:version>": ("GET", "public"),
    "suites/<slug:suite>/<int:version>/leaderboard": ("GET", "public"),
    "suites/<slug:suite>/<int:version>/runs": ("POST", "public"),
    "compare": ("GET", "hers"),
    "repos": ("GET POST", "list"),
    "facets": ("GET", "list"),
    "map": ("GET", "list"),
    "jobs": ("GET", "list"),
    "queue": ("GET", "list"),
    "queue/statistics": ("GET", "list"),
    "queue/replies": ("GET POST", "maintainers"),
    "queue/replies/<int:reply>": ("PUT DELETE", "maintainers"),
    "queue/rules": ("GET POST", "maintainers"),
    "queue/rules/<int:rule>": ("PATCH", "maintainers"),
    "queue/samples": ("GET", "list"),
    "queue/samples/<int:sample>": ("PUT", "maintainers"),
    "collections": ("GET POST", "list"),
    "collections/<slug:key>": ("GET PATCH DELETE", "hers"),
    "collections/<slug:key>/items": ("POST", "hers"),
    "collections/<slug:key>/items/<slug:item>": ("PATCH DELETE", "hers"),
    "access-requests": ("GET", "self"),
    "notices": ("GET POST", "self"),
    "notices/choices": ("GET PUT", "self"),
    "activity": ("GET", "list"),
    "merges": ("GET POST", "list"),
    "evaluations": ("GET POST", "list"),
    "teachings": ("GET POST", "list"),
    "me": ("GET", "self"),
    "organisations": ("POST", "self"),
    "accounts/<str:account>": ("GET PATCH", "public"),
    "accounts/<str:account>/members": ("GET", "public"),
    "accounts/<str:account>/members/<str:member>": ("PUT DELETE", "session"),
    "tokens": ("GET POST", "session"),
    "tokens/<int:token>": ("DELETE", "session"),
    "methods": ("GET", "public"),
    "route": ("POST", "asked"),
    "predict": ("POST", "asked"),
    "nearest": ("POST", "asked"),
    "placing": ("GET", "asked"),
    "advice": ("POST", "asked"),
    "router": ("GET", "asked"),
    "recipes/lint": ("POST", "public"),
    "recipes/preview": ("POST", "public"),
    "teachings/check": ("POST", "public"),
    "schema": ("GET", "public"),
    "docs": ("GET", "public"),
}
STRANGERS = (None, "bob", "charlie", "mary")
BODIES: dict[str, dict[str, Any]] = {
    "POST merges": {
        "recipe": {"merge_method": "mean", "inputs": ["alice/secret-lora", "alice/secret-other"]},
        "target": "{me}/stolen",
    },
    "POST merge-comparisons/<int:comparison>/publish": {"target": "alice/secret-winner"},
    "POST merge-comparisons": {"inputs": ["alice/secret-lora", "alice/secret-other"]},
    "POST statistics": {"adapter": "alice/secret-lora"},
    "POST recipes/preview": {"recipe": {"merge_method": "mean", "inputs": ["alice/secret-lora", "alice/secret-other"]}},
    "POST evaluations": {"subject": "alice/secret-lora", "task": "alice/secret-task"},
    "POST evaluations/matrix": {"subjects": ["alice/secret-lora"], "tasks": ["alice/secret-task"]},
    "POST evaluations/import": {
        "subject": "alice/secret-lora",
        "tasks": {"a": "alice/secret-task"},
        "results": {"results": {"a": {"acc,none": 0.5}}, "n-samples": {"a": {"effective": 12}}},
    },
    "POST collections": {"owner": "alice", "title": "planted"},
    "POST collections/<slug:key>/items": {"repo": "alice/secret-lora"},
    "POST systems": {"name": "planted", "base": "acme/tiny-bert", "owner": "alice"},
    "POST suites": {"name": "planted", "tasks": [{"task": "alice/secret-task"}]},
    "POST suites/<slug:suite>/<int:version>/runs": {"subject": "alice/secret-lora"},
    "POST recipes/lint": {"recipe": {"merge_method": "mean", "inputs": ["alice/secret-lora", "alice/secret-other"]}},
    "POST teachings": {"target": "{me}/taught", "task": "alice/secret-task", "base": "acme/tiny-bert"},
    "POST teachings/check": {"target": "nobody/taught", "task": "alice/secret-task", "base": "acme/tiny-bert"},
    "POST queue/replies": {"group": "Files", "title": "Broken", "text": "This is broken."},
    "PUT queue/replies/<int:reply>": {"group": "Files", "title": "Broken", "text": "This is broken."},
    "POST queue/rules": {"name": "Every change of one file"},
    "PATCH queue/rules/<int:rule>": {"enabled": False},
    "PUT queue/samples/<int:sample>": {"agreed": True},
    "POST repos": {"name": "planted", "owner": "alice"},
    **{
        f"PUT {kind}/<str:owner>/<str:name>{rest}": body
        for kind in ("repos", "tasks")
        for rest, body in (("/gate", {"gated": "auto"}), ("/access-requests/<str:account>", {"state": "accepted"}))
    },
    "PATCH accounts/<str:account>": {"bio": "taken over"},
}


def routes(patterns: list[Any] | None = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(route, view) of everything below `/api/v1/`."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif route.startswith(PREFIX):
            yield route.removeprefix(PREFIX), pattern.callback


def methods_of(view: Any) -> set[str]:
    cls = getattr(view, "cls", None) or view.view_class
    return {name.upper() for name in cls.http_method_names if hasattr(cls, name)} - {"HEAD", "OPTIONS"}


def test_every_route_has_an_entry() -> None:
    found = {route: methods_of(view) for route, view in routes()}
    assert found == {route: set(methods.split()) for route, (methods, _who) in ENTRIES.items()}


def test_everything_else_is_watched_elsewhere() -> None:
    with override_settings(DEBUG=False):
        for pattern in get_resolver().url_patterns:
            if str(pattern.pattern) == PREFIX:
                continue
            name = str(pattern.pattern) if isinstance(pattern, URLPattern) else pattern.urlconf_name.__name__
            assert name in ELSEWHERE, f"{name}: say which tests watch who may see it"


def address(route: str, world: World) -> str:
    """A route filled in with what is Alice's."""
    task = route.startswith(("tasks/", "leaderboards/"))
    parts = {
        "owner": "alice", "name": world.task.name if task else world.adapter.name, "ref": "secret-branch",
        "path": "README.md", "sha": world.task.head if task else world.adapter.head,
        "upload": (world.task_upload if task else world.upload).pk,
        "number": (world.task_request if task else world.request).number,
        "comment": (world.task_comment if task else world.comment).pk,
        "job": world.job.pk, "merge": world.merge.pk, "comparison": world.comparison.pk, "evaluation": world.evaluation.pk,
        "teaching": world.teaching.pk,
        "account": "alice", "member": "bob", "token": world.token.pk,
        "suite": "open", "version": 1, "sign": "yes", "rule": world.rule.pk, "sample": 1, "reply": world.reply.pk, "key": world.collected.collection.key,
        "item": world.collected.key,
    }  # fmt: skip
    if "evaluations/<int:evaluation>/" in route:
        parts["evaluation"] = world.judged.pk
    if route.startswith("systems/"):
        parts |= {"name": "secret-system", "number": 1}
    if "tags/" in route:
        parts["ref"] = "secret-tag"
    if "members" in route:
        parts["account"] = "acme"
    filled = re.sub(r"<\w+:(\w+)>", lambda match: str(parts[match[1]]), route)
    return f"/{PREFIX}{filled}" + ("?left=alice/secret-lora&right=acme/tiny-bert" if route == "compare" else "")


def ask(who: APIClient, method: str, route: str, world: World, me: str = "") -> Any:
    """One request, undone afterwards."""
    body = json.loads(json.dumps(BODIES.get(f"{method} {route}", {})).replace("{me}", me))
    more = {} if method == "GET" else {"data": body, "format": "json"}
    with transaction.atomic():
        answer = (
            who.generic("GET", address(route, world))
            if method == "GET"
            else getattr(who, method.lower())(address(route, world), **more)
        )
        transaction.set_rollback(True)
    return answer


def text_of(answer: Any) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return content.decode() + str(dict(answer.headers))


def every(who: str) -> list[tuple[str, str]]:
    return [
        (method, route) for route, (methods, group) in ENTRIES.items() if group == who for method in methods.split()
    ]


def state() -> list[Any]:
    """What strangers must leave as it is."""
    return [
        sorted(Repo.objects.values_list("name", "head", "private", "likes", "description")),
        sorted(Ref.objects.values_list("name", "target")), sorted(Commit.objects.values_list("sha")),
        sorted(ChangeRequest.objects.values_list("title", "state")), sorted(Comment.objects.values_list("text", "hidden")),
        sorted(Membership.objects.values_list("member__name", "role")), Token.objects.filter(account__name="alice", revoked_at=None).count(),
    ]  # fmt: skip


@pytest.mark.parametrize("person", STRANGERS)
def test_strangers_find_nothing(people: People, world: World, person: str | None) -> None:
    who = client(getattr(people, person) if person else None)
    before = state()
    for method, route in every("hers"):
        answer = ask(who, method, route, world)
        expected = {404} if person or method == "GET" else {401}
        assert answer.status_code in expected, (person, method, route, answer.content)
        shown = text_of(answer).replace("alice/secret-lora", "") if route == "compare" else text_of(answer)
        assert "secret" not in shown, (person, method, route)
    assert state() == before


@pytest.mark.parametrize("person", STRANGERS)
def test_lists_hold_nothing_for_strangers(people: People, world: World, person: str | None) -> None:
    who = client(getattr(people, person) if person else None)
    for method, route in every("list"):
        answer = ask(who, method, route, world, me=person or "nobody")
        if method == "GET":
            assert answer.status_code == 200, (person, route)
            assert "secret" not in text_of(answer), (person, route)
        else:
            assert answer.status_code in {401, 403, 422}, (person, method, route, answer.content)
    assert "secret" not in text_of(who.get(f"/{PREFIX}evaluations?task=alice/secret-task&subject=alice/secret-lora"))
    assert "secret" not in text_of(who.get(f"/{PREFIX}merges?repo=alice/secret-merge"))
    assert "secret" not in text_of(who.get(f"/{PREFIX}jobs?repo=alice/secret-lora"))
    assert "secret-" not in text_of(who.get(f"/{PREFIX}repos?q=secret&sort=name")).replace("q=secret", "")


def test_alice_reaches_what_is_hers(people: People, world: World) -> None:
    who = client(people.alice)
    for method, route in every("hers") + every("list"):
        answer = ask(who, method, route, world, me="alice")
        assert answer.status_code not in {401, 403, 404}, (method, route, answer.status_code, answer.content)
        assert answer.status_code < 500, (method, route)


def test_a_read_token_changes_nothing(people: People, world: World) -> None:
    who = client(people.alice, Scope.READ)
    before = state()
    for method, route in every("hers") + every("list"):
        answer = ask(who, method, route, world, me="alice")
        if method == "GET":
            assert answer.status_code in {200, 302}, (route, answer.content)
        else:
            assert answer.status_code == 403, (method, route, answer.content)
    assert state() == before


def test_tokens_and_rights_need_a_person(people: People, world: World) -> None:
    for who in (client(people.alice), client(people.alice, Scope.READ)):
        for method, route in every("session"):
            answer = ask(who, method, route, world)
            assert answer.status_code == 403, (method, route, answer.content)
            assert "token" in answer.json()["error"]
    for method, route in every("session"):
        assert ask(client(), method, route, world).status_code == 401, (method, route)
        mine = ask(browser(people.alice), method, route, world)
        assert mine.status_code in {200, 201, 204, 400}, (method, route, mine.content)
        for stranger in (people.charlie, people.mary):
            answer = ask(browser(stranger), method, route, world)
            if route == "tokens" and method == "GET":
                assert "secret" not in text_of(answer)
            elif route != "tokens":
                assert answer.status_code in {403, 404}, (method, route, answer.content)


@pytest.mark.parametrize("person", STRANGERS)
def test_what_is_public_stays_harmless(people: People, world: World, person: str | None) -> None:
    who = client(getattr(people, person) if person else None)
    for method, route in every("public"):
        answer = ask(who, method, route, world)
        allowed = {200} if method == "GET" else {401, 403, 422}
        assert answer.status_code in allowed, (method, route, answer.content)
        if method == "GET":
            assert "secret" not in text_of(answer), (person, route)


def test_nobody_is_nobody(people: People, world: World) -> None:
    for method, route in every("self"):
        assert ask(client(), method, route, world).status_code == 401, (method, route)


def test_a_foreign_id_in_ones_own_repo_is_absent(people: People, world: World) -> None:
    """Charlie's repo with the ids of Alice's change request, comment and upload."""
    who = client(people.charlie)
    assert who.post(f"/{PREFIX}repos", {"name": "own"}, format="json").status_code == 201
    put(people.charlie, Repo.objects.get(name="own"), {"README.md": b"# Own\n"})
    base = f"/{PREFIX}repos/charlie/own"
    assert who.get(f"{base}/change-requests/{world.request.number}").status_code == 404
    assert who.get(f"{base}/commits/{world.adapter.head}").status_code == 404
    assert who.post(f"{base}/change-requests", {"title": "Mine"}, format="json").status_code == 201
    comment = f"{base}/change-requests/1/comments/{world.comment.pk}"
    assert who.put(comment, {"text": "mine now"}, format="json").status_code == 404
    assert who.delete(comment).status_code == 404
    assert who.post(f"{base}/uploads/{world.upload.pk}/finish", {}, format="json").status_code == 403
    weights = Repo.objects.get(name="secret-lora").git_objects.exclude(large=None).first()
    assert weights is not None
    stolen = {"message": "Take", "files": [{"path": "a.safetensors", "sha256": weights.large_id}]}
    assert who.post(f"{base}/commit", stolen, format="json").status_code == 422
    asked = {"path": "a.safetensors", "size": weights.size, "sha256": weights.large_id}
    assert who.post(f"{base}/uploads", asked, format="json").json()["present"] is False


def test_a_token_for_one_repo_reaches_no_other(people: People, world: World) -> None:
    who = APIClient()
    _row, text = create_token(account=people.alice, label="one", repos=["alice/secret-other"])
    who.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert who.get(f"/{PREFIX}repos/alice/secret-lora").status_code == 404
    assert who.get(f"/{PREFIX}repos/alice/secret-other").status_code == 200
    assert who.post(f"/{PREFIX}repos", {"name": "new"}, format="json").status_code == 403
    assert who.patch(f"/{PREFIX}accounts/acme", {"bio": "x"}, format="json").status_code == 403
    assert "secret-lora" not in text_of(who.get(f"/{PREFIX}jobs"))


@pytest.mark.parametrize("person", [None, "alice", "bob", "charlie", "mary"])
def test_what_maintainers_keep_is_read_by_all_and_written_by_them(
    people: People, world: World, person: str | None
) -> None:
    who = client(getattr(people, person) if person else None)
    for method, route in every("maintainers"):
        answer = ask(who, method, route, world)
        if method == "GET":
            assert answer.status_code == 200, (person, route)
        elif person != "mary":
            assert answer.status_code == (403 if person else 401), (person, method, route, answer.content)
        else:
            assert answer.status_code not in {401, 403} and answer.status_code < 500, (method, route, answer.content)
            refused = ask(client(people.mary, Scope.READ), method, route, world)
            assert refused.status_code == 403, (method, route)


def test_rules_are_read_by_all_and_written_by_maintainers(people: People, world: World) -> None:
    for person, expected in ((None, 401), ("alice", 403), ("charlie", 403), ("mary", 201)):
        who = client(getattr(people, person) if person else None)
        assert who.get(f"/{PREFIX}queue/rules").status_code == 200
        assert who.post(f"/{PREFIX}queue/rules", {"name": "Small"}, format="json").status_code == expected, person
    assert (
        client(people.mary, Scope.READ).post(f"/{PREFIX}queue/rules", {"name": "x"}, format="json").status_code == 403
    )
