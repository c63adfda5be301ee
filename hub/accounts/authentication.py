"""DRF's view of the actor. `request.user` is the account; `request.auth` the token."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from hub.accounts.middleware import token_text
from hub.accounts.models import Account, Token


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer hf_…`."""

    def authenticate(self, request: Request) -> tuple[Account, Token] | None:
        """The account and token, None without one. Raises AuthenticationFailed for a dead token."""
        actor = request._request.actor  # type: ignore[attr-defined]
        if token_text(request._request) is None:
            return None
        if actor.bad_credentials or actor.account is None:
            raise AuthenticationFailed(
                "This token is unknown, expired or revoked. Make a new one under Settings, Tokens."
            )
        return actor.account, actor.token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionActorAuthentication(SessionAuthentication):
    """The browser session, with CSRF, for pages that call the API."""


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An access token from Settings, Tokens."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = SessionActorAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The browser session, with `X-CSRFToken` on everything that changes something.",
        }
