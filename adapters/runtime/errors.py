"""What goes wrong when a base or an adapter is loaded or run."""

from __future__ import annotations


class RuntimeFault(ValueError):
    """A base, adapter or text cannot be used as asked; the message says what happened and what to do."""
