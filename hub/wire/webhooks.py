"""`hf webhooks`: one's own webhooks, in the client's shape."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse

from hub.webhooks import keeping
from hub.webhooks.models import Webhook
from hub.wire.asking import WireRequest, door, read_json, require_account, text_of
from hub.wire.errors import WireError


@door("GET")
def list_webhooks(request: WireRequest) -> HttpResponse:
    """`GET /api/settings/webhooks`."""
    require_account(request)
    return JsonResponse([_shape(row) for row in keeping.webhooks_of(request.actor)], safe=False)


@door("POST", limit="write")
def create(request: WireRequest) -> HttpResponse:
    """`POST /api/settings/webhooks` `{url, watched, domains?, secret?}`. Starting a job by webhook is not offered."""
    require_account(request)
    body = read_json(request)
    if body.get("jobSourceId") or not body.get("url"):
        raise WireError(501, "Webhooks call an address here ('url'); they start no jobs.")
    row = keeping.create(
        actor=request.actor, url=text_of(body, "url"), watched=body.get("watched") or [],
        domains=body.get("domains") or keeping.DOMAINS, secret=text_of(body, "secret"),
    )  # fmt: skip
    return JsonResponse({"webhook": _shape(row)})


@door("GET")
def show(request: WireRequest, key: str) -> HttpResponse:
    """`GET /api/settings/webhooks/{id}`."""
    return JsonResponse({"webhook": _shape(_find(request, key))})


@door("POST", limit="write")
def update(request: WireRequest, key: str) -> HttpResponse:
    """`POST /api/settings/webhooks/{id}`: what is named changes, the rest stays."""
    row, body = _find(request, key), read_json(request)
    fields = {name: body[name] for name in ("url", "watched", "domains", "secret") if body.get(name) is not None}
    return JsonResponse({"webhook": _shape(keeping.update(actor=request.actor, row=row, **fields))})


@door("POST", limit="write")
def switch(request: WireRequest, key: str, action: str) -> HttpResponse:
    """`POST /api/settings/webhooks/{id}/enable` and `/disable`."""
    if action not in ("enable", "disable"):
        raise WireError(404, "A webhook can be enabled or disabled.")
    row = keeping.update(actor=request.actor, row=_find(request, key), disabled=action == "disable")
    return JsonResponse({"webhook": _shape(row)})


@door("DELETE", limit="write")
def delete(request: WireRequest, key: str) -> HttpResponse:
    """`DELETE /api/settings/webhooks/{id}`."""
    keeping.delete(actor=request.actor, row=_find(request, key))
    return JsonResponse({"success": True})


def _find(request: WireRequest, key: str) -> Webhook:
    require_account(request)
    found = next((row for row in keeping.webhooks_of(request.actor) if row.key == key), None)
    if found is None:
        raise WireError(404, "You have no such webhook.")
    return found


def _shape(row: Webhook) -> dict[str, Any]:
    watched = [item.partition(":") for item in row.watched]
    return {
        "id": row.key,
        "url": row.url,
        "job": None,
        "watched": [{"type": kind, "name": name} for kind, _colon, name in watched],
        "domains": row.domains,
        "secret": row.secret or None,
        "disabled": row.disabled,
        "lastError": row.last_error or None,
    }
