"""What every page knows."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

NAVIGATION = (
    ("Browse", "/browse"),
    ("Tasks", "/tasks"),
    ("Systems", "/systems"),
    ("Ask", "/ask"),
    ("Teach", "/teach"),
    ("Merge", "/merge"),
    ("Scores", "/leaderboards"),
    ("Review", "/review"),
)
"""The main addresses, in the order of the header."""


def site(request: HttpRequest) -> dict[str, Any]:
    """The site's name and address, who is looking, the request's id, and the main addresses with this page's marked."""
    path = request.path
    return {
        "site_name": settings.SITE_NAME,
        "public_url": settings.PUBLIC_URL,
        "actor": getattr(request, "actor", None),
        "request_id": getattr(request, "id", ""),
        "navigation": [
            {"title": title, "href": href, "here": path == href or path.startswith(f"{href}/")}
            for title, href in NAVIGATION
        ],
    }
