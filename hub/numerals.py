"""Whole numbers as people and programs write them in addresses and forms."""

from __future__ import annotations

MOST = 10**9
"""No page, count or key here is larger; a database can still multiply it by the size of a page."""

NO_KEY = -1
"""The key of no row."""


def whole(text: object, most: int = MOST) -> int | None:
    """The number that a text of ASCII digits names, `most` if it is larger; None for anything else.

    `str.isdigit` is not enough: it also takes superscripts, which `int` does not.
    """
    written = str(text)
    if not (written.isascii() and written.isdigit()):
        return None
    return min(int(written), most) if len(written) <= 18 else most


def key_of(text: object) -> int:
    """The key of a row that a text names; one that no row has for anything else."""
    key = whole(text)
    return NO_KEY if key is None else key
