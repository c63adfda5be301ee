"""WSGI entry. Keeps an encoded slash of a revision (`refs%2Fpr%2F1`) apart from a path separator."""

import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

ENCODED_SLASH = "\x1f"
"""Stands for `%2F` inside PATH_INFO; the revision converter of `hub.wire.converters` turns it back."""

django_application = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Rebuild PATH_INFO from the raw request line, so that `%2F` survives WSGI's unquoting."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw and "%2f" in raw.lower():
        path = raw.split("?", 1)[0]
        if path.startswith("http"):
            path = "/" + path.split("/", 3)[3]
        prefix = environ.get("SCRIPT_NAME", "")
        path = path.removeprefix(prefix).replace("%2F", ENCODED_SLASH).replace("%2f", ENCODED_SLASH)
        environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
    return django_application(environ, start_response)
