"""What the client's exceptions are made from: status, `X-Error-Code`, `X-Error-Message`, body `{"error": …}`."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.pages.errors import describe
from hub.repos.policy import Refused
from hub.rights import Denied
from hub.store.objects import StoreError

BAD_CREDENTIALS = "Invalid credentials in Authorization header"
RETRY_SECONDS = 10
_CODES = {"revision_not_found": "RevisionNotFound", "entry_not_found": "EntryNotFound"}


class WireError(Exception):
    """An answer that is not the one hoped for. `extra` joins the body; `headers` the answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers, self.extra = headers or {}, extra or {}


def repo_not_found(request: HttpRequest) -> WireError:
    """Absent and invisible repos look the same: 404, or 401 to somebody who has not said who they are."""
    anonymous = not request.actor.is_known  # type: ignore[attr-defined]
    return WireError(401 if anonymous else 404, "Repository not found", code="RepoNotFound")


def bad_credentials() -> WireError:
    """The token is unknown, expired, revoked, or missing where one is needed."""
    return WireError(401, BAD_CREDENTIALS)


def answer(request: HttpRequest, error: Exception) -> HttpResponse | None:
    """The response for anything that rooms and views raise on purpose; None for a bug."""
    if isinstance(error, WireError):
        return _response(request, error)
    if isinstance(error, Denied) and not request.actor.is_known:  # type: ignore[attr-defined]
        return _response(request, bad_credentials())
    if isinstance(error, Refused) and error.path.lower() == "readme.md":
        return _response(request, WireError(400, str(error)))
    if isinstance(error, RequestDataTooBig):
        return _response(request, WireError(413, "The request is too large; send fewer files at a time."))
    known = describe(error)
    if known is None:
        return None
    status, code, sentence = known
    headers = {"Retry-After": str(RETRY_SECONDS)} if isinstance(error, StoreError) and status == 503 else {}
    return _response(request, WireError(status, sentence, code=_CODES.get(code, ""), headers=headers))


def _response(request: HttpRequest, error: WireError) -> HttpResponse:
    """A body that says what happened, and headers for clients that read only those."""
    response = JsonResponse({"error": error.message, **error.extra}, status=error.status)
    response["X-Error-Message"] = header_text(error.message)
    if error.code:
        response["X-Error-Code"] = error.code
    if error.status == 401:
        response["WWW-Authenticate"] = 'Basic realm="Tessera"' if _by_git(request) else "Bearer"
    for name, value in error.headers.items():
        response[name] = value
    return response


def _by_git(request: HttpRequest) -> bool:
    """Git and git-lfs ask for a password only when they are told that Basic would do."""
    path = request.path_info
    return ".git/" in path or path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack"))


def header_text(message: str) -> str:
    """A sentence as it may stand in a header: one line of printable ASCII, not too long."""
    line = " ".join(message.replace("…", "...").split())
    return line.encode("ascii", "replace").decode()[:1000]
