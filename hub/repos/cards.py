"""A repo's card (README.md): checked at the door, its front matter kept as claims."""

from __future__ import annotations

from typing import Any

from hub.repos.frontmatter import CardError, parse_card
from hub.repos.policy import Candidate, Refused


def check(path: str, candidate: Candidate) -> None:
    """Refuse a card that is not UTF-8 or whose front matter cannot be read. Raises Refused with the rule's code."""
    try:
        parse_card(candidate.read(0, candidate.size))
    except CardError as error:
        raise Refused(path, error.message, code=error.code) from error


def front_matter(data: bytes) -> dict[str, Any]:
    """The claims of a card; empty for one that cannot be read."""
    try:
        return parse_card(data)[0]
    except CardError:
        return {}
