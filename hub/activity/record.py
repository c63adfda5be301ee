"""Writing events: called by each room, in the transaction of the write itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hub.accounts.models import Account
from hub.activity.models import Event
from hub.repos.models import Repo

_listeners: list[Callable[[Event], None]] = []


def register_listener(listener: Callable[[Event], None]) -> None:
    """Tell another room of each event, inside its transaction."""
    _listeners.append(listener)


def record(actor: Account | None, verb: str, *, repo: Repo | None = None, **data: Any) -> Event:
    """Remember that `actor` did `verb`. `data` must be JSON-able."""
    event = Event.objects.create(actor=actor, verb=verb, repo=repo, data=data)
    for listener in _listeners:
        listener(event)
    return event
