"""What every page knows."""

from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from hub.activity.notices import notices_of

NAVIGATION = (
    ("Browse", "/browse"),
    ("Tasks", "/tasks"),
    ("Systems", "/systems"),
    ("Ask", "/ask", "/advice"),
    ("Teach", "/teach", "/teachings"),
    ("Merge", "/merge"),
    ("Scores", "/leaderboards", "/suites", "/evaluations", "/evaluate"),
    ("Review", "/review"),
)
"""The main addresses, in the order of the header; after each, what else it is marked for."""


def site(request: HttpRequest) -> dict[str, Any]:
    """The site's name and address, who is looking, the request's id, and the main addresses with this page's marked."""
    path = request.path
    return {
        "site_name": settings.SITE_NAME,
        "public_url": settings.PUBLIC_URL,
        "actor": getattr(request, "actor", None),
        "request_id": getattr(request, "id", ""),
        "navigation": [
            {"title": title, "href": places[0], "here": any(f"{path}/".startswith(f"{place}/") for place in places)}
            for title, *places in NAVIGATION
        ],
        "unread_notices": partial(_unread, request),
    }


def _unread(request: HttpRequest) -> int:
    """How many notices wait for who is looking; counted only where a page shows it."""
    actor = getattr(request, "actor", None)
    return notices_of(actor).filter(read_at=None).count() if actor and actor.account else 0
