"""Making, changing, liking and removing repos."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse

from hub import rights
from hub.accounts.models import Account
from hub.repos import access, copying, lifecycle
from hub.repos.models import Kind, Like, Repo
from hub.rights import Denied, Verb
from hub.wire.asking import WireRequest, door, find_repo, flag, read_json, repo_url, require_account, text_of
from hub.wire.errors import WireError, repo_not_found
from hub.wire.identity import person

_TYPES = {"model": "models", "dataset": "datasets"}


@door("POST", limit="write")
def create(request: WireRequest) -> HttpResponse:
    """`POST /api/repos/create`. If it exists: 409 with the same JSON, which `exist_ok` callers read."""
    body = read_json(request)
    repokind, owner, name = _address(request, body)
    try:
        repo = lifecycle.create_repo(
            actor=request.actor,
            owner=owner,
            name=name,
            kind=Kind.TASK if repokind == "datasets" else Kind.ADAPTER,
            private=_private(body),
        )
    except lifecycle.Exists as error:
        known = {"url": repo_url(request, error.repo), "name": error.repo.full_name} if error.repo else {}
        raise WireError(409, f"You already created this repo: {owner.name}/{name}", extra=known) from error
    return JsonResponse({"url": repo_url(request, repo), "name": repo.full_name, "id": repo.pk.hex[:24]})


@door("DELETE", limit="write")
def delete(request: WireRequest) -> HttpResponse:
    """`DELETE /api/repos/delete`, with the address in a JSON body."""
    repokind, owner, name = _address(request, read_json(request))
    repo = find_repo(request, repokind, owner.name, name)
    lifecycle.delete_repo(actor=request.actor, repo=repo)
    return HttpResponse("OK", content_type="text/plain")


@door("POST", limit="write")
def move(request: WireRequest) -> HttpResponse:
    """`POST /api/repos/move`: a new name, or a new owner that the actor may create repos for."""
    body = read_json(request)
    repokind = _repokind(body)
    before, after = text_of(body, "fromRepo").split("/"), text_of(body, "toRepo").split("/")
    if len(before) != 2 or len(after) != 2:
        raise WireError(400, "'fromRepo' and 'toRepo' are written owner/name.")
    repo = find_repo(request, repokind, *before)
    owner = _owner(after[0])
    try:
        lifecycle.move_repo(actor=request.actor, repo=repo, owner=owner, name=after[1])
    except lifecycle.Exists as error:
        raise WireError(409, str(error)) from error
    return JsonResponse({"url": repo_url(request, repo), "name": repo.full_name})


@door("POST", limit="write")
def duplicate(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST /api/{T}/{R}/duplicate` `{repository, visibility?}`: its files as a repo of one's own."""
    require_account(request)
    repo, body = find_repo(request, repokind, owner, name), read_json(request)
    there = text_of(body, "repository").split("/")
    if len(there) != 2:
        raise WireError(400, "'repository' is written owner/name.")
    target = _owner(there[0])
    try:
        copy = copying.duplicate(actor=request.actor, source=repo, owner=target, name=there[1], private=_private(body))
    except lifecycle.Exists as error:
        known = {"url": repo_url(request, error.repo)} if error.repo else {}
        raise WireError(409, str(error), extra=known) from error
    return JsonResponse({"url": repo_url(request, copy), "filesCopyPending": False})


@door("PUT", limit="write")
def settings(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`PUT /api/{T}/{R}/settings`: visibility, gate and description."""
    repo, body = find_repo(request, repokind, owner, name), read_json(request)
    rights.require(request.actor, Verb.ADMIN, repo)
    if body.get("gated") is not None:
        access.set_gate(actor=request.actor, repo=repo, gated=str(body["gated"] or "")[:10])
    private = _private(body)
    if private is not None:
        lifecycle.set_private(actor=request.actor, repo=repo, private=private)
    if "description" in body:
        lifecycle.describe(actor=request.actor, repo=repo, description=text_of(body, "description"))
    return JsonResponse(
        {"private": repo.private, "visibility": "private" if repo.private else "public", "gated": repo.gated or False}
    )


@door("GET", "HEAD")
def auth_check(request: WireRequest, repokind: str, owner: str, name: str, verb: str = "") -> HttpResponse:
    """`GET /api/{T}/{R}/auth-check[/write]`: may I read (write) this?"""
    repo = find_repo(request, repokind, owner, name)
    if verb:
        rights.require(request.actor, Verb.WRITE, repo)
    return HttpResponse("OK", content_type="text/plain")


@door("POST", "DELETE", limit="write")
def like(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST` marks, `DELETE` unmarks; doing it twice changes nothing."""
    require_account(request)
    repo = find_repo(request, repokind, owner, name)
    lifecycle.set_like(actor=request.actor, repo=repo, liked=request.method == "POST")
    return HttpResponse("OK", content_type="text/plain")


@door("GET")
def likers(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`GET /api/{T}/{R}/likers`, the newest first."""
    repo = find_repo(request, repokind, owner, name)
    likes = Like.objects.filter(repo=repo).select_related("account").order_by("-created_at")[:500]
    return JsonResponse([person(row.account) for row in likes], safe=False)


def _address(request: WireRequest, body: dict[str, Any]) -> tuple[str, Account, str]:
    """(repo kind, owner, name) from `{name, organization?, type?}`; the name may carry its owner."""
    account = require_account(request)
    name, organisation = text_of(body, "name"), text_of(body, "organization")
    if "/" in name and not organisation:
        organisation, _, name = name.partition("/")
    repokind = _repokind(body)
    if not organisation or organisation.lower() == account.name.lower():
        return repokind, account, name
    if request.method == "DELETE":
        found = Repo.objects.with_id(f"{organisation}/{name}").visible_to(request.actor).first()
        if found is None:
            raise repo_not_found(request)
    return repokind, _owner(organisation), name


def _owner(name: str) -> Account:
    """The account to create for. One that does not exist looks like one that may not be used."""
    owner = Account.objects.filter(name__iexact=name).first()
    if owner is None:
        raise Denied(f"You may not create repos for {name[:96]}.")
    return owner


def _repokind(body: dict[str, Any]) -> str:
    kind = text_of(body, "type", "model") or "model"
    if kind not in _TYPES:
        raise WireError(501, f"This hub keeps models and datasets, not {kind[:20]}s.")
    return _TYPES[kind]


def _private(body: dict[str, Any]) -> bool | None:
    """The wish in `visibility` (newer clients) or `private` (older ones); None if there is none."""
    if body.get("visibility") is not None:
        return text_of(body, "visibility") != "public"
    return flag(body["private"]) if body.get("private") is not None else None
