"""Model ids that this hub does not know, led on to another hub. Off unless UPSTREAM_URL is set.

Only ids whose owner has no account here are led on: then an answer never tells whether somebody here has a private
repo of that name, because for all owners of this hub the absent and the invisible look the same.
"""

from __future__ import annotations

import http.client
import logging
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest

from hub.accounts.models import Account
from hub.wire.converters import ESCAPED_SLASH
from hub.wire.errors import WireError

SECONDS, REMEMBERED_SECONDS = 5.0, 300
_TOLD = ("X-Repo-Commit", "ETag", "X-Linked-Etag", "X-Linked-Size")
log = logging.getLogger(__name__)


def lead_on(request: HttpRequest, repokind: str, owner: str) -> WireError | None:
    """307 to the same address of the upstream, or None. HEAD carries what the client reads before it goes there."""
    base: str = settings.UPSTREAM_URL
    if not base or repokind != "models" or request.method not in ("GET", "HEAD"):
        return None
    if owner and Account.objects.filter(name__iexact=owner).exists():
        return None
    address = base + request.get_full_path().replace(ESCAPED_SLASH, "%2F")
    headers = {"Location": address}
    if request.method == "HEAD" and "/resolve/" in request.path_info:
        headers |= _told(address)
    return WireError(307, "This hub does not have that model; its upstream may.", headers=headers)


def _told(address: str) -> dict[str, str]:
    """Commit, hash and size as the upstream tells them; nothing if it does not answer in time."""
    key = f"upstream:{address[:200]}"
    known: dict[str, str] | None = cache.get(key)
    if known is None:
        try:
            known = _ask(address)
        except (OSError, http.client.HTTPException, ValueError):
            log.warning("The upstream does not answer.", exc_info=True)
            return {}
        cache.set(key, known, REMEMBERED_SECONDS)
    return known


def _ask(address: str) -> dict[str, str]:
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=SECONDS)
    try:
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request("HEAD", path, headers={"Accept-Encoding": "identity", "User-Agent": "tessera"})
        answer = connection.getresponse()
        told = {name: value for name in _TOLD if (value := answer.getheader(name))}
        if answer.status == 200 and "X-Linked-Size" not in told and (size := answer.getheader("Content-Length")):
            told["X-Linked-Size"] = size
        return told
    finally:
        connection.close()
