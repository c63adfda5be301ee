"""Request ids for every answer, and cookie-free doors for programs."""

import logging
import re
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

_SAFE_ID = re.compile(r"[\w.:=-]{8,100}")
log = logging.getLogger("hub.requests")


class RequestIdMiddleware:
    """Gives every request an id (the client's own, if it sent a harmless one) and says it in the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id") or request.headers.get("X-Amzn-Trace-Id", "")
        request.id = given if _SAFE_ID.fullmatch(given) else str(uuid.uuid4())  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-Id"] = request.id  # type: ignore[attr-defined]
        response.setdefault("X-Content-Type-Options", "nosniff")
        return response


class SessionlessMiddleware:
    """The wire protocol uses no cookies: its answers never set one, and its requests need no CSRF token."""

    PREFIXES = ("/api/", "/oauth/")

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        wire = request.path_info.startswith(self.PREFIXES) and not request.path_info.startswith("/api/v1/")
        wire = wire or request.path_info == "/uploads"  # pictures are sent by programs, but seen in pages
        if wire or ".git/" in request.path_info:
            request.COOKIES.clear()
            request.csrf_processing_done = True  # type: ignore[attr-defined]
        return self.get_response(request)


class RepoMoved(Exception):
    """A page was asked for under an id its repo no longer has; `before` and `now` are `owner/name`."""

    def __init__(self, before: str, now: str) -> None:
        super().__init__(f"{before} is {now} now.")
        self.before, self.now = before, now


class RepoGated(Exception):
    """A page of a repo whose door is elsewhere: `door` is where to ask."""

    def __init__(self, door: str) -> None:
        super().__init__("This repo is gated.")
        self.door = door


class MovedMiddleware:
    """Leads a page's old address to the new one, and a gated repo's pages to its door."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """307 below the new id, so that a form sent to the old one arrives too."""
        if isinstance(error, RepoGated):
            return HttpResponse(status=303, headers={"Location": error.door})
        if not isinstance(error, RepoMoved):
            return None
        address = request.get_full_path().replace("%1F", "%2F")
        before = re.compile(re.escape(f"/{error.before}"), re.IGNORECASE)
        headers = {"Location": before.sub(f"/{error.now}", address, count=1)}
        if request.path_info.startswith("/api/"):
            return JsonResponse({"error": str(error), "code": "moved"}, status=307, headers=headers)
        return HttpResponse(status=307, headers=headers)


def public_url(path: str = "") -> str:
    """An absolute address of this hub, as people reach it."""
    return f"{settings.PUBLIC_URL}{path}"
