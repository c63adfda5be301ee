"""Writing events: called by each room, in the transaction of the write itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.accounts.models import Account
from hub.activity.models import Event

if TYPE_CHECKING:
    from hub.repos.models import Repo


def record(actor: Account | None, verb: str, *, repo: Repo | None = None, **data: Any) -> Event:
    """Remember that `actor` did `verb`. `data` must be JSON-able."""
    return Event.objects.create(actor=actor, verb=verb, repo=repo, data=data)
