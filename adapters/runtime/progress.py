"""How long work tells how far it is: (done, all, what is being done); what the listener raises ends the work."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]


def silent(_done: int, _total: int, _message: str) -> None:
    """Nobody listens."""
