"""Signing in a program on another machine: it shows a code, a signed-in person confirms it, it gets a token.

The device authorization grant of RFC 8628, with refresh tokens that can be used once (RFC 6749, section 6).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.accounts.actor import Actor
from hub.accounts.models import Account, DeviceLogin, Scope
from hub.accounts.tokens import create_token
from hub.rights import Denied

CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words; nothing that looks like a digit
CODE_LIFE, TOKEN_LIFE, REFRESH_LIFE = timedelta(minutes=15), timedelta(days=60), timedelta(days=180)
OVERLAP = timedelta(days=1)
"""How long an old token goes on after it was exchanged: other processes may hold it still."""

INTERVAL_SECONDS = 3


class NotYet(Exception):
    """No token for this. `code` is the protocol's word: authorization_pending, slow_down, expired_token, …"""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Granted:
    """What a program gets: the texts exist only here."""

    access: str
    refresh: str
    seconds: int


def begin(*, client: str, address: str) -> tuple[DeviceLogin, str]:
    """A program asks to be signed in. Returns the row, with the code to show, and the program's own secret."""
    now, secret = timezone.now(), secrets.token_urlsafe(32)
    DeviceLogin.objects.filter(expires_at__lt=now - CODE_LIFE, token=None).delete()
    while True:
        letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(8))
        try:
            with transaction.atomic():
                row = DeviceLogin.objects.create(
                    secret=_digest(secret), code=f"{letters[:4]}-{letters[4:]}", client=client[:80],
                    address=address[:60], expires_at=now + CODE_LIFE,
                )  # fmt: skip
        except IntegrityError:
            continue
        return row, secret


def waiting(code: str) -> DeviceLogin | None:
    """The sign-in that shows this code and waits for a person, however they typed it."""
    letters = "".join(char for char in code.upper() if char.isalnum())
    return DeviceLogin.objects.filter(
        code=f"{letters[:4]}-{letters[4:]}", state=DeviceLogin.State.WAITING, expires_at__gt=timezone.now()
    ).first()


def decide(*, actor: Actor, row: DeviceLogin, allow: bool, scope: str = Scope.WRITE) -> None:
    """A person in a browser lets the program in, or not. Raises Denied."""
    if actor.account is None or actor.token is not None or actor.account.is_organisation:
        raise Denied("Programs are signed in by a person in a browser, never by a token.")
    DeviceLogin.objects.filter(pk=row.pk, state=DeviceLogin.State.WAITING).update(
        state=DeviceLogin.State.ALLOWED if allow else DeviceLogin.State.REFUSED,
        account=actor.account,
        scope=scope if scope in Scope.values else Scope.READ,
    )


def exchange(secret: str) -> Granted:
    """The program asks whether it may come in; the first answer after a yes carries the token. Raises NotYet."""
    with transaction.atomic():
        row = DeviceLogin.objects.select_for_update(of=("self",)).filter(secret=_digest(secret)).first()
        now = timezone.now()
        if row is None or row.state == DeviceLogin.State.SPENT:
            raise NotYet("invalid_grant", "This device code is unknown, or was used already.")
        if row.state == DeviceLogin.State.REFUSED:
            raise NotYet("access_denied", "The sign-in was refused.")
        if row.expires_at <= now:
            raise NotYet("expired_token", "The code has expired; begin again.")
        if row.state == DeviceLogin.State.ALLOWED:
            assert row.account is not None
            return _grant(row, row.account)
        early = row.asked_at is not None and now - row.asked_at < timedelta(seconds=INTERVAL_SECONDS - 1)
        DeviceLogin.objects.filter(pk=row.pk).update(asked_at=now)
    raise NotYet("slow_down" if early else "authorization_pending", "Nobody has confirmed the code yet.")


def refresh(text: str) -> Granted:
    """A new token for an old one's refresh token, which is used up by it. Raises NotYet."""
    with transaction.atomic():
        row = (
            DeviceLogin.objects.select_for_update(of=("self",))
            .select_related("account", "token")
            .filter(refresh=_digest(text), expires_at__gt=timezone.now())
            .first()
        )
        alive = row is not None and row.token is not None and row.token.revoked_at is None
        if row is None or not alive or row.account is None or not row.account.is_active:
            raise NotYet("invalid_grant", "This refresh token is unknown, expired, used or revoked; sign in again.")
        old, last = row.token, timezone.now() + OVERLAP
        if old is not None and (old.expires_at is None or old.expires_at > last):
            old.expires_at = last
            old.save(update_fields=["expires_at"])
        return _grant(row, row.account)


def _grant(row: DeviceLogin, account: Account) -> Granted:
    now, refresh_text = timezone.now(), secrets.token_urlsafe(32)
    token, access = create_token(
        account=account, label=f"{row.client or 'hf'} {row.code}", scope=row.scope, expires_at=now + TOKEN_LIFE
    )
    row.state, row.token, row.refresh = DeviceLogin.State.SPENT, token, _digest(refresh_text)
    row.expires_at = now + REFRESH_LIFE
    row.save(update_fields=["state", "token", "refresh", "expires_at"])
    return Granted(access, refresh_text, int(TOKEN_LIFE.total_seconds()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
