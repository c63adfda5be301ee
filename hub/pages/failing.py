"""What a person sees when a page cannot be shown: what happened, what to do, and a number to quote.

Programs (addresses of the APIs) get the same as `{"error": sentence, "code": ...}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from hub.pages.errors import describe

PROGRAMS = ("/api/", "/v1/")
CODES = {400: "bad_request", 403: "denied", 404: "not_found", 405: "wrong_method", 500: "server_error"}
SENTENCES = {
    400: "This request could not be understood.",
    403: "You may not do this.",
    404: "There is nothing at this address, or you may not see it.",
    405: "This address does not take that kind of request.",
    500: "Something broke on our side. Try again; if it happens twice, tell the operator the request's number.",
}
DRAWN = {400, 403, 404, 405, 410, 413, 422, 429, 503}
"""States that have a page of their own; others are shown as the nearest of these."""
EXPIRED = "The form was open for too long, or cookies are off, so it cannot be told that it was you who sent it."


def page(request: HttpRequest, status: int, message: str = "", code: str = "") -> HttpResponse:
    """The page of an error, or its JSON where programs ask."""
    if request.path_info.startswith(PROGRAMS):
        said = {"error": message or SENTENCES.get(status, SENTENCES[400]), "code": code or CODES.get(status, "")}
        return JsonResponse(said, status=status)
    drawn = status if status in DRAWN else 422 if status < 500 else 503
    return render(request, f"errors/{drawn}.html", {"message": message}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400. What the exception says is for the log, not for whoever probes."""
    return page(request, 400)


def not_allowed(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    return page(request, 403, str(exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404. A sentence is shown where a view wrote one; of an unknown address there is none to say."""
    said = exception.args[0] if exception.args and isinstance(exception.args[0], str) else ""
    return page(request, 404, said)


def expired(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW."""
    return page(request, 403, f"{EXPIRED} Go back, reload the page, and send it again.", "csrf")


def broken(request: HttpRequest) -> HttpResponse:
    """Django's handler500. Asks neither the database nor the session, which may be what broke."""
    if request.path_info.startswith(PROGRAMS):
        return JsonResponse({"error": SENTENCES[500], "code": CODES[500], "request": _number(request)}, status=500)
    return HttpResponse(render_to_string("errors/500.html", {"request_id": _number(request)}), status=500)


class FailureMiddleware:
    """Shows what rooms raise on purpose, and a wrong method, as pages."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """A bare 405 gets its page."""
        answer = self.get_response(request)
        if answer.status_code != 405 or not isinstance(answer, HttpResponse) or answer.content:
            return answer
        drawn = page(request, 405)
        drawn.headers["Allow"] = answer.headers.get("Allow", "")
        return drawn

    def process_view(
        self, request: HttpRequest, view: object, args: object, parts: dict[str, Any]
    ) -> HttpResponse | None:
        """No name, path or search here has a zero byte, and the database could not be asked for one.

        Programs are told so by their own doors, in their own terms.
        """
        if request.path_info.startswith(PROGRAMS):
            return None
        if any("\x00" in str(part) for part in parts.values()):
            return page(request, 404)
        if any("\x00" in text for key, values in request.GET.lists() for text in (key, *values)):
            return page(request, 400, "A question is written without zero bytes.")
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """None for what is not foreseen: that is a fault, and is logged as one."""
        if isinstance(error, DataError) and "NUL" in str(error):
            return page(request, 400, "A form holds no zero bytes. Go back, remove them and send it again.")
        known = describe(error)
        return page(request, known[0], known[2], known[1]) if known else None


def _number(request: HttpRequest) -> str:
    return str(getattr(request, "id", ""))
