"""Requests to read gated repos, as the client lists and answers them."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse

from hub import rights
from hub.accounts.models import Account
from hub.numerals import key_of
from hub.repos import access
from hub.repos.models import AccessRequest, Repo
from hub.rights import Verb
from hub.wire.asking import WireRequest, door, find_repo, read_json, text_of
from hub.wire.errors import WireError
from hub.wire.shapes import when


@door("GET")
def list_requests(request: WireRequest, repokind: str, owner: str, name: str, status: str) -> HttpResponse:
    """`GET /api/{T}/{R}/user-access-request/{pending|accepted|rejected}`."""
    repo = find_repo(request, repokind, owner, name)
    rights.require(request.actor, Verb.ADMIN, repo)
    if status not in AccessRequest.State.values:
        raise WireError(404, f"Requests are {', '.join(AccessRequest.State.values)}.")
    rows = access.requests_of(request.actor, repo, status)[:1000]
    return JsonResponse([_shape(row) for row in rows], safe=False)


@door("POST", limit="write")
def handle(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST …/user-access-request/handle` `{user | requestId, status, rejectionReason?}`."""
    repo, body = find_repo(request, repokind, owner, name), read_json(request)
    rights.require(request.actor, Verb.ADMIN, repo)
    row = _find(repo, text_of(body, "user"), text_of(body, "requestId"))
    status, reason = text_of(body, "status"), text_of(body, "rejectionReason")
    row = access.answer(actor=request.actor, row=row, state=status, reason=reason)
    return JsonResponse(_shape(row))


@door("POST", limit="write")
def grant(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST …/user-access-request/grant` `{user}`: also somebody who did not ask."""
    repo, body = find_repo(request, repokind, owner, name), read_json(request)
    rights.require(request.actor, Verb.ADMIN, repo)
    account = Account.objects.people().filter(name__iexact=text_of(body, "user"), is_active=True).first()
    if account is None:
        raise WireError(404, "There is no person of that name.")
    return JsonResponse(_shape(access.grant(actor=request.actor, repo=repo, account=account)))


def _find(repo: Repo, user: str, key: str) -> AccessRequest:
    rows = AccessRequest.objects.filter(repo=repo).select_related("account", "repo__owner")
    row = rows.filter(**({"pk": key_of(key)} if key else {"account__name__iexact": user})).first()
    if row is None:
        raise WireError(404, "Nobody of that name has asked for access.")
    return row


def _shape(row: AccessRequest) -> dict[str, Any]:
    return {
        "requestId": str(row.pk),
        "status": row.state,
        "timestamp": when(row.created_at),
        "user": {"user": row.account.name, "fullname": row.account.title, "email": None},
        "fields": {"text": row.text} if row.text else {},
    }
