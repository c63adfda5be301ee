"""One table from what rooms raise to what a door answers: status, code, sentence."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from hub.repos.access import NotGated
from hub.repos.commits import BadChange, Conflict
from hub.repos.editing import ChangedMeanwhile, NotText
from hub.repos.lifecycle import Exists
from hub.repos.policy import Refused
from hub.repos.standing import BadStanding, Yanked
from hub.repos.trees import EntryNotFound, RevisionNotFound
from hub.review.decisions import Moved
from hub.review.refusals import MergeConflict, NotPossible
from hub.rights import Denied
from hub.store.blobs import WrongBytes
from hub.store.objects import ObjectMissing, StoreError
from hub.xet.hashes import FormatError

STATUS: dict[type[Exception], tuple[int, str]] = {
    FormatError: (400, "bad_format"),
    Denied: (403, "denied"),
    RevisionNotFound: (404, "revision_not_found"),
    EntryNotFound: (404, "entry_not_found"),
    Exists: (409, "exists"),
    MergeConflict: (409, "merge_conflict"),
    Moved: (409, "moved"),
    NotPossible: (409, "not_possible"),
    NotGated: (409, "not_gated"),
    ChangedMeanwhile: (409, "changed_meanwhile"),
    NotText: (409, "not_text"),
    Conflict: (412, "conflict"),
    BadStanding: (422, "bad_standing"),
    Yanked: (410, "yanked"),
    Refused: (422, "refused"),
    BadChange: (422, "bad_change"),
    WrongBytes: (422, "wrong_bytes"),
    ObjectMissing: (422, "nothing_uploaded"),
    StoreError: (503, "store"),
}
"""Status and machine-readable code of everything the rooms of `hub` raise on purpose."""


def register_error(kind: type[Exception], status: int, code: str) -> None:
    """Let a higher room say how its own refusals are answered."""
    STATUS[kind] = (status, code)


def describe(error: Exception) -> tuple[int, str, str] | None:
    """(status, code, sentence) of an error that rooms raise on purpose, else None."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            status, code = STATUS[kind]
            return status, code, str(error)
    if isinstance(error, ValidationError):
        return 422, "invalid", " ".join(error.messages)
    return None


def api_exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every error of the API is {"error": sentence, "code": …}; field errors stand in `fields`."""
    known = describe(error)
    if known:
        status, code, message = known
        headers = {"Retry-After": "30"} if status == 503 else None
        return Response({"error": message, "code": code, **_details(error)}, status=status, headers=headers)
    if isinstance(error, Http404):
        error = exceptions.NotFound("There is nothing here, or you may not see it.")
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied(str(error) or None)
    response = exception_handler(error, context)
    if response is not None and isinstance(error, exceptions.APIException):
        fields = error.detail if isinstance(error, exceptions.ValidationError) else None
        sentence = "Some fields need another look." if fields else str(error.detail)
        response.data = {"error": sentence, "code": error.default_code, **({"fields": fields} if fields else {})}
    return response


def _details(error: Exception) -> dict[str, Any]:
    """What a program can act on: the head that moved, the paths in conflict, each problem of a recipe."""
    details = {name: getattr(error, name) for name in ("head", "paths", "problems") if hasattr(error, name)}
    if "problems" in details:
        details["problems"] = [asdict(problem) for problem in details["problems"]]
    return details
