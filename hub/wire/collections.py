"""`hf collections`: repos put together, in the client's shape."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q
from django.http import HttpResponse, JsonResponse

from hub.accounts.models import Account
from hub.collections import keeping
from hub.collections.models import Collection, Item
from hub.repos.models import Repo, RepoQuerySet
from hub.rights import Denied
from hub.wire.asking import (
    WireRequest,
    absolute,
    door,
    known_repo,
    number_of,
    read_json,
    require_account,
    text_of,
    values_of,
)
from hub.wire.errors import WireError
from hub.wire.shapes import when

PAGE, SHOWN, MOST_NAMED = 50, 4, 20
_TYPES = {"model": "models", "dataset": "datasets"}


@door("GET")
def list_collections(request: WireRequest) -> HttpResponse:
    """`GET /api/collections?owner=&item=models/ns/name&sort=&limit=`: each with its first items."""
    rows = keeping.collections_for(request.actor)
    if owners := [name for name in values_of(request, "owner") if name][:MOST_NAMED]:
        rows = rows.filter(_any(Q(owner__name__iexact=name) for name in owners))
    if items := [name for name in values_of(request, "item") if name][:MOST_NAMED]:
        holding = _any(
            Q(pk__in=Item.objects.filter(repo__in=_repos(request, name)).values("collection")) for name in items
        )
        rows = rows.filter(holding)
    size = min(PAGE, max(1, number_of(request, "limit", PAGE)))
    start = number_of(request, "p", 0) * size
    found = list(keeping.with_items(request.actor, rows, SHOWN)[start : start + size + 1])
    shaped = [_shape(row, row.shown) for row in found[:size]]  # type: ignore[attr-defined]
    for row in shaped:
        del row["position"]  # the client counts by itself
    response = JsonResponse(shaped, safe=False)
    if len(found) > size:
        query = [(key, value) for key, values in request.GET.lists() if key != "p" for value in values]
        query.append(("p", str(start // size + 1)))
        response["Link"] = f'<{absolute(request, f"/api/collections?{urlencode(query)}")}>; rel="next"'
    return response


@door("POST", limit="write")
def create(request: WireRequest) -> HttpResponse:
    """`POST /api/collections` `{title, namespace, description?, private?}`. The same title again: 409 with its slug."""
    account, body = require_account(request), read_json(request)
    name = text_of(body, "namespace") or account.name
    owner = Account.objects.filter(name__iexact=name).first()
    if owner is None:
        raise Denied(f"You may not change collections of {name[:96]}.")
    same = keeping.collections_for(request.actor).filter(owner=owner, title=text_of(body, "title")).first()
    if same is not None:
        raise WireError(409, "There is a collection of that title already.", extra={"slug": same.slug})
    row = keeping.create(actor=request.actor, owner=owner, **_fields(body))
    if body.get("item"):
        _add(request, row, body)
    return JsonResponse(_whole(request, row))


@door("GET")
def show(request: WireRequest, owner: str, slug: str) -> HttpResponse:
    """`GET /api/collections/{slug}`."""
    return JsonResponse(_whole(request, _find(request, slug)))


@door("PATCH", limit="write")
def update(request: WireRequest, owner: str, slug: str) -> HttpResponse:
    """`PATCH /api/collections/{slug}`."""
    row = keeping.update(actor=request.actor, row=_find(request, slug), **_fields(read_json(request)))
    return JsonResponse({"success": True, "data": _whole(request, row)})


@door("DELETE", limit="write")
def delete(request: WireRequest, owner: str, slug: str) -> HttpResponse:
    """`DELETE /api/collections/{slug}`."""
    keeping.delete(actor=request.actor, row=_find(request, slug))
    return JsonResponse({"success": True})


@door("POST", limit="write")
def add_item(request: WireRequest, owner: str, slug: str) -> HttpResponse:
    """`POST /api/collections/{slug}/items` `{item: {type, id}, note?}`; 409 if it is in already."""
    row, body = _find(request, slug), read_json(request)
    if not _add(request, row, body):
        raise WireError(409, "This repo is in the collection already.")
    return JsonResponse(_whole(request, row))


@door("PATCH", limit="write")
def update_item(request: WireRequest, owner: str, slug: str, item: str) -> HttpResponse:
    """`PATCH /api/collections/{slug}/items/{id}` `{note?, position?}`."""
    body, row = read_json(request), _item(request, slug, item)
    keeping.change(actor=request.actor, item=row, note=body.get("note"), position=body.get("position"))
    return JsonResponse({"success": True})


@door("DELETE", limit="write")
def delete_item(request: WireRequest, owner: str, slug: str, item: str) -> HttpResponse:
    """`DELETE /api/collections/{slug}/items/{id}`."""
    keeping.remove(actor=request.actor, item=_item(request, slug, item))
    return JsonResponse({"success": True})


@door("POST")
def resource_group(request: WireRequest, owner: str, slug: str) -> HttpResponse:
    """`POST /api/collections/{slug}/resource-group`: there are none."""
    require_account(request)
    _find(request, slug)
    raise WireError(501, "This hub has no resource groups: who may see a collection follows from its owner.")


def _any(conditions: Iterable[Q]) -> Q:
    return functools.reduce(operator.or_, conditions)


def _repos(request: WireRequest, name: str) -> RepoQuerySet:
    """The repos of `models/ns/name` or `datasets/ns/name` that the asker knows of."""
    kind, _, repo_id = name.partition("/")
    repos = Repo.objects.with_id(repo_id).known_to(request.actor)
    return repos.tasks() if kind == "datasets" else repos.models()


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in keeping.FIELDS if body.get(name) is not None}


def _add(request: WireRequest, row: Collection, body: dict[str, Any]) -> bool:
    wanted = body.get("item")
    kind, name = (wanted.get("type"), wanted.get("id")) if isinstance(wanted, dict) else (None, None)
    if not isinstance(kind, str) or kind not in _TYPES or not isinstance(name, str) or name.count("/") != 1:
        raise WireError(422, "A collection here holds models and datasets, named owner/name.")
    owner, _, repo_name = name.replace("\x00", "").partition("/")
    repo = known_repo(request, _TYPES[kind], owner, repo_name)
    return keeping.add(actor=request.actor, row=row, repo=repo, note=text_of(body, "note"))[1]


def _find(request: WireRequest, slug: str) -> Collection:
    row = keeping.collections_for(request.actor).filter(key=slug[-24:].lower()).first()
    if row is None:
        raise WireError(404, "There is no such collection, or you may not see it.")
    return row


def _item(request: WireRequest, slug: str, key: str) -> Item:
    item = keeping.items_for(request.actor, _find(request, slug)).filter(key=key[:24]).first()
    if item is None:
        raise WireError(404, "There is no such item in this collection.")
    return item


def _whole(request: WireRequest, row: Collection) -> dict[str, Any]:
    return _shape(row, keeping.items_for(request.actor, row)[: keeping.MOST_ITEMS])


def _shape(row: Collection, items: Iterable[Item]) -> dict[str, Any]:
    return {
        "slug": row.slug,
        "title": row.title,
        "description": row.description or None,
        "owner": {"name": row.owner.name, "type": "org" if row.owner.is_organisation else "user", "avatarUrl": ""},
        "position": row.position,
        "private": row.private,
        "theme": row.theme,
        "upvotes": 0,
        "lastUpdated": when(row.updated_at),
        "items": [_item_shape(item, number) for number, item in enumerate(items)],
    }


def _item_shape(item: Item, number: int) -> dict[str, Any]:
    note = {"note": {"text": item.note, "html": ""}} if item.note else {}
    kind = "dataset" if item.repo.is_task else "model"
    return {"_id": item.key, "id": item.repo.full_name, "type": kind, "position": number, **note}
