"""Sets `request.actor`: from a bearer (or git's Basic) token, else from the browser session, else nobody."""

import base64
import binascii
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from hub.accounts.actor import NOBODY, Actor
from hub.accounts.models import Account
from hub.accounts.tokens import find_token


def token_text(request: HttpRequest) -> str | None:
    """The token sent with a request: `Bearer <token>`, or Basic with the token as password."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return ""
        return password or user
    return None


def actor_of(request: HttpRequest) -> Actor:
    """Who is asking. A request with a token never uses cookies."""
    text = token_text(request)
    if text is not None:
        token = find_token(text)
        return Actor(account=token.account, token=token) if token else Actor(bad_credentials=True)
    user = getattr(request, "user", None)
    return Actor(account=user) if isinstance(user, Account) or getattr(user, "is_authenticated", False) else NOBODY


class ActorMiddleware:
    """`request.actor` for every view, found on first use."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = SimpleLazyObject(lambda: actor_of(request))  # type: ignore[attr-defined]
        if token_text(request) is not None:
            request.csrf_processing_done = True  # type: ignore[attr-defined]  # no cookie is used, so none can be forged
        return self.get_response(request)
