"""Canned replies, by group, kept by maintainers: what they say often, said well once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.record import record
from hub.numerals import key_of
from hub.review.models import CannedReply
from hub.review.refusals import NotPossible
from hub.rights import Denied

FIELDS = {"group": 40, "title": 80, "text": 5000}
MOST = 200


def all_replies() -> QuerySet[CannedReply]:
    """Every reply, by group and title; whoever contributes may read what they may be told."""
    return CannedReply.objects.select_related("changed_by")


def groups() -> dict[str, list[CannedReply]]:
    """Group to its replies."""
    return {name: list(rows) for name, rows in groupby(all_replies(), key=lambda reply: reply.group)}


def text_of(key: str) -> str:
    """The text of a reply; empty if there is none of that number."""
    found = CannedReply.objects.filter(pk=key_of(key)).first()
    return found.text if found else ""


def find(key: int) -> CannedReply:
    """The reply of that number. Raises NotPossible."""
    found = all_replies().filter(pk=key).first()
    if found is None:
        raise NotPossible("There is no such reply; somebody may have deleted it.")
    return found


def save(*, actor: Actor, asked: Mapping[str, Any], key: int | None = None) -> CannedReply:
    """Write a new reply, or with `key` change one: `group`, `title`, `text`. Raises Denied, NotPossible."""
    account = _maintainer(actor)
    reply = find(key) if key is not None else CannedReply()
    for name, most in FIELDS.items():
        value = str(asked.get(name, getattr(reply, name))).replace("\x00", "").strip()
        if not value or len(value) > most:
            raise NotPossible(f"A reply needs a {name} of 1 to {most:,} letters.")
        setattr(reply, name, value)
    if key is None and CannedReply.objects.count() >= MOST:
        raise NotPossible(f"{MOST} replies are the most there may be; delete one that nobody uses.")
    reply.changed_by = account
    try:
        with transaction.atomic():
            reply.save()
            record(account, "save_reply", group=reply.group, title=reply.title)
    except IntegrityError as error:
        raise NotPossible(f"The group {reply.group} has a reply called {reply.title} already.") from error
    return reply


def delete(*, actor: Actor, key: int) -> None:
    """Forget a reply; what was said with it stays. Raises Denied, NotPossible."""
    account, reply = _maintainer(actor), find(key)
    with transaction.atomic():
        record(account, "delete_reply", group=reply.group, title=reply.title)
        reply.delete()


def _maintainer(actor: Actor) -> Account:
    if actor.account is None or not actor.may_write or not actor.is_maintainer or actor.is_limited:
        raise Denied("Canned replies are kept by maintainers.")
    return actor.account
