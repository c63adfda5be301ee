"""Access tokens: made, found by hash, revoked. The text exists only in the answer that made it."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from hub.accounts.models import Account, Scope, Token

PREFIX = "hf_"
LAST_USED_STEP = timedelta(minutes=5)


def digest_of(text: str) -> str:
    """The form in which a token is stored and looked up."""
    return hashlib.sha256(text.encode()).hexdigest()


def create_token(
    *,
    account: Account,
    label: str,
    scope: str = Scope.WRITE,
    repos: Iterable[str] = (),
    expires_at: datetime | None = None,
    text: str | None = None,
) -> tuple[Token, str]:
    """Make a token; returns the row and its text, which cannot be shown again. A given `text` is taken as it is."""
    text = text or PREFIX + secrets.token_urlsafe(32)
    row = Token.objects.create(
        account=account,
        label=label,
        digest=digest_of(text),
        hint=text[-4:],
        scope=scope,
        repos=sorted({name.lower() for name in repos}),
        expires_at=expires_at,
    )
    return row, text


def find_token(text: str) -> Token | None:
    """The live token with this text, marked as used (at most every few minutes), or None."""
    now = timezone.now()
    token = (
        Token.objects.select_related("account")
        .filter(Q(expires_at=None) | Q(expires_at__gt=now), digest=digest_of(text), revoked_at=None)
        .filter(account__is_active=True)
        .first()
    )
    if token and (token.last_used_at is None or now - token.last_used_at > LAST_USED_STEP):
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def revoke_all(account: Account) -> int:
    """End every token of somebody whose password changed (whoever knew the old one may have made some); how many."""
    return Token.objects.filter(account=account, revoked_at=None).update(revoked_at=timezone.now())


def revoke_token(token: Token) -> None:
    """End a token at once. Revoking twice is harmless."""
    Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
