"""Tokens of the chunk store: given for one repo to somebody who may read or change it, and checked on every request.

A token is signed, short-lived, and bound to the access token it was asked with: when that is revoked, expired or loses
its rights, the signed one is worth nothing from the next request on.
"""

from __future__ import annotations

import functools
import time
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core import signing
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from django.utils import timezone

from hub import rights
from hub.accounts import throttle
from hub.accounts.actor import Actor
from hub.accounts.models import Account, Token
from hub.repos import commits, standing
from hub.repos.models import Repo
from hub.rights import Verb
from hub.wire.asking import View, WireRequest, absolute, door, find_repo, flag, require_account
from hub.wire.errors import WireError, answer

_SALT = "hub.wire.xet"


@dataclass(frozen=True)
class Session:
    """Who speaks to the chunk store, about which repo, and whether to change it."""

    actor: Actor
    repo: Repo
    may_write: bool


@door("GET")
def read_token(request: WireRequest, repokind: str, owner: str, name: str, revision: str) -> HttpResponse:
    """`GET /api/{T}/{R}/xet-read-token/{rev}`: for whoever may read the repo."""
    repo = find_repo(request, repokind, owner, name)
    standing.require_usable(repo, revision)
    return _token(request, repo, write=False)


@door("GET")
def write_token(request: WireRequest, repokind: str, owner: str, name: str, revision: str) -> HttpResponse:
    """`GET /api/{T}/{R}/xet-write-token/{rev}`. With `create_pr` reading is enough: bytes alone change nothing."""
    require_account(request)
    repo = find_repo(request, repokind, owner, name)
    if flag(request.GET.get("create_pr")) or revision == "None":  # old clients do not know the branch then
        rights.require(request.actor, Verb.PROPOSE, repo)
    else:
        commits.require_right(request.actor, repo, commits.full_ref(revision))
    return _token(request, repo, write=True)


def cas_url(request: HttpRequest, account: Account | None) -> str:
    """Where the chunk store is for this account. Clients keep what they have sent by this very text.

    So what one account has sent is never referred to in another's name, and a new epoch makes all clients forget.
    """
    return absolute(request, f"/api/xet/{quote(account.name) if account else '-'}/{settings.XET_EPOCH}")


def _token(request: WireRequest, repo: Repo, *, write: bool) -> HttpResponse:
    if not settings.XET:
        raise WireError(501, "This hub does not speak Xet; set HF_HUB_DISABLE_XET=1.")
    account, token = request.actor.account, request.actor.token
    expires = int(time.time()) + settings.LIMITS["xet_token_seconds"]
    said = {"a": account.pk if account else None, "t": token.pk if token else None, "r": repo.pk.hex, "e": expires}
    text = signing.dumps(said | {"w": write}, salt=_SALT)
    address = cas_url(request, account)
    response = JsonResponse({"casUrl": address, "exp": expires, "accessToken": text})
    response["X-Xet-Cas-Url"], response["X-Xet-Access-Token"] = address, text
    response["X-Xet-Token-Expiration"] = str(expires)
    response["Cache-Control"] = "no-store"
    return response


def cas(*methods: str, write: bool = False) -> Any:
    """Make a view a route of the chunk store: it gets the request and a checked Session."""

    def wrap(view: View) -> View:
        @functools.wraps(view)
        def inner(request: WireRequest, account: str = "", epoch: str = "", **parts: Any) -> HttpResponseBase:
            try:
                if request.method not in methods:
                    raise WireError(405, f"Only {', '.join(methods)} is possible here.")
                session = _session(request, account, epoch, write=write)
                request.actor = session.actor
                allowance = throttle.take(request, session.actor, "resolve")
                if allowance and allowance.exceeded:
                    raise WireError(429, f"Too many requests; go on in {allowance.reset} seconds.")
                return view(request, session, **parts)
            except UnreadablePostError:
                return JsonResponse({"error": "The body broke off."}, status=400)
            except Exception as error:
                refusal = answer(request, error)
                if refusal is None:
                    raise
                return refusal

        return inner

    return wrap


def _session(request: HttpRequest, account: str, epoch: str, *, write: bool) -> Session:
    """Raises WireError: 401 for a token that is no longer worth anything, 403 for one that may only read."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    try:
        said = signing.loads(text.strip(), salt=_SALT) if scheme.lower() == "bearer" else {}
    except signing.BadSignature:
        said = {}
    if not said or said["e"] < time.time():
        raise WireError(401, "This Xet token is unknown or has expired; ask for a new one.")
    actor = _actor(said)
    repo = Repo.objects.filter(pk=uuid.UUID(said["r"])).visible_to(actor).select_related("owner").first()
    name = actor.account.name if actor.account else "-"
    if repo is None or account.lower() != name.lower() or epoch != settings.XET_EPOCH:
        raise WireError(401, "This Xet token is not for this; ask for a new one.")
    if write and not (said["w"] and rights.can(actor, Verb.PROPOSE, repo)):
        raise WireError(403, "This Xet token may only read.")
    return Session(actor, repo, said["w"])


def _actor(said: dict[str, Any]) -> Actor:
    """The account and token behind a Xet token, as they are now. Raises WireError (401) if one is gone."""
    if said["a"] is None:
        return Actor()
    if said["t"] is None:
        account = Account.objects.filter(pk=said["a"], is_active=True).first()
        token = None
    else:
        alive = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        rows = Token.objects.select_related("account").filter(alive, pk=said["t"], revoked_at=None)
        token = rows.filter(account=said["a"], account__is_active=True).first()
        account = token.account if token else None
    if account is None:
        raise WireError(401, "The access token behind this Xet token was revoked or has expired.")
    return Actor(account=account, token=token)
