"""Making, changing and ending webhooks. Only their owner sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator

from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.rights import Denied
from hub.webhooks import addresses
from hub.webhooks.models import Webhook

DOMAINS, TYPES = ("repo", "discussion"), ("user", "org", "model", "dataset")
MOST_WEBHOOKS, MOST_WATCHED = 20, 50
_url = URLValidator(schemes=["http", "https"])


def webhooks_of(actor: Actor) -> list[Webhook]:
    """One's own, the oldest first. Raises Denied."""
    return list(Webhook.objects.filter(owner=_owner(actor)))


def create(
    *, actor: Actor, url: str, watched: Sequence[Any], domains: Sequence[str] = DOMAINS, secret: str = ""
) -> Webhook:
    """Raises Denied, ValidationError."""
    owner = _owner(actor, writing=True)
    if Webhook.objects.filter(owner=owner).count() >= MOST_WEBHOOKS:
        raise ValidationError(f"{MOST_WEBHOOKS} webhooks are the most one may have; delete one first.")
    row = Webhook(owner=owner)
    _fill(row, url=url, watched=watched, domains=domains, secret=secret)
    row.save()
    return row


def update(*, actor: Actor, row: Webhook, **fields: Any) -> Webhook:
    """Change `url`, `watched`, `domains`, `secret` or `disabled`. Raises Denied, ValidationError."""
    require_owner(actor, row)
    if "disabled" in fields:
        row.disabled = bool(fields.pop("disabled"))
        row.failures = 0
    _fill(row, **fields)
    row.save()
    return row


def delete(*, actor: Actor, row: Webhook) -> None:
    """Raises Denied."""
    require_owner(actor, row)
    row.delete()


def require_owner(actor: Actor, row: Webhook) -> None:
    """Raises Denied unless a webhook is this person's, who may write."""
    if row.owner_id != _owner(actor, writing=True).pk:
        raise Denied("This webhook is not yours.")


def watched_from(text: str) -> list[dict[str, str]]:
    """What a person names, by spaces or lines: `owner`, `owner/name`, `datasets/owner/name`, or a page's address.

    Raises ValidationError for an owner that is not known, and for what is no address.
    """
    found = []
    for word in text.replace("\x00", "").split():
        try:
            path = urlsplit(word).path.strip("/") if "://" in word else word.strip("/")
        except ValueError as error:
            raise ValidationError(f"'{word[:100]}' is no address. Name an owner, or a repo as owner/name.") from error
        name = path.removeprefix("datasets/")
        if "/" in name:
            found.append({"type": "model" if name == path else "dataset", "name": name})
            continue
        account = Account.objects.filter(name__iexact=name).first()
        if account is None:
            raise ValidationError(f"Nobody here is called '{name[:100]}'. Name an owner, or a repo as owner/name.")
        found.append({"type": "org" if account.is_organisation else "user", "name": name})
    return found


def words_of(row: Webhook) -> list[str]:
    """What a webhook watches as `watched_from` reads it."""
    parts = [item.partition(":") for item in row.watched]
    return [f"datasets/{name}" if kind == "dataset" else name for kind, _colon, name in parts]


def _owner(actor: Actor, *, writing: bool = False) -> Account:
    if actor.account is None or actor.is_limited:
        raise Denied("Webhooks belong to a person: sign in, or use a token that is not limited to some repos.")
    if writing and not actor.may_write:
        raise Denied("This token may only read; make one with the write scope.")
    return actor.account


def _fill(row: Webhook, **fields: Any) -> None:
    if "url" in fields:
        row.url = _checked_url(fields["url"])
    if "watched" in fields:
        row.watched = _watched(fields["watched"])
    if "domains" in fields:
        wanted = fields["domains"]
        if not isinstance(wanted, list | tuple) or not wanted or set(map(str, wanted)) - set(DOMAINS):
            raise ValidationError(f"The domains of a webhook are some of {', '.join(DOMAINS)}.")
        row.domains = sorted(set(wanted))
    if "secret" in fields:
        secret = str(fields["secret"] or "")
        if len(secret) > 200 or not secret.isascii() or not (secret.isprintable() or not secret):
            raise ValidationError("A secret has at most 200 printable ASCII characters.")
        row.secret = secret


def _checked_url(url: Any) -> str:
    if not isinstance(url, str) or len(url) > 1000:
        raise ValidationError("The address of a webhook is a text of at most 1000 characters.")
    _url(url)
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValidationError("Write no password into the address; use the webhook's secret.")
    addresses.check_literal(parts.hostname or "")
    return url


def _watched(items: Any) -> list[str]:
    if not isinstance(items, list | tuple) or not 0 < len(items) <= MOST_WATCHED:
        raise ValidationError(f"A webhook watches 1 to {MOST_WATCHED} users, organisations or repos.")
    found = set()
    for item in items:
        kind, name = (item.get("type"), item.get("name")) if isinstance(item, dict) else (None, None)
        if kind not in TYPES or not isinstance(name, str) or not 0 < len(name) <= 200 or "\x00" in name:
            raise ValidationError(f"What is watched has a 'type' ({', '.join(TYPES)}) and a 'name'.")
        found.add(f"{kind}:{name.lower()}")
    return sorted(found)
