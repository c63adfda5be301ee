"""What every view does first: who asks, may they change anything, is the request sane, which repo is meant."""

from __future__ import annotations

from functools import cached_property
from math import isfinite
from typing import Any, NoReturn, cast

from django.conf import settings
from django.http import HttpResponse
from rest_framework import generics, serializers
from rest_framework.exceptions import (
    APIException,
    NotAuthenticated,
    NotFound,
    ParseError,
    PermissionDenied,
    Throttled,
)
from rest_framework.parsers import JSONParser
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.accounts import throttle
from hub.accounts.actor import Actor
from hub.numerals import whole
from hub.pages.middleware import RepoMoved
from hub.repos import lifecycle, trees
from hub.repos.models import Commit, Repo


class TooLarge(APIException):
    status_code = 413
    default_code = "too_large"
    default_detail = "The body is too large; send files through uploads, not inside JSON."


MOST_WHOLE = 2**63
"""Whole numbers stay below this: no column holds more, and no float field takes 400 digits."""


class PlainJSON(JSONParser):
    """JSON without NaN, infinity, endless numbers or halves of letters, and without a way to exhaust the stack."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The body. Raises ParseError."""
        try:
            body = super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise ParseError("The JSON is nested too deeply.") from error
        waiting: list[Any] = [body]
        while waiting:
            item = waiting.pop()
            if isinstance(item, dict):
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                waiting += item
            else:
                _check_value(item)
        return body


def _check_value(value: object) -> None:
    """Raise ParseError for a number or text that JSON can spell and nothing here can keep."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ParseError("A text of the JSON holds half of a letter (a lone surrogate).") from error
    elif (isinstance(value, float) and not isfinite(value)) or (isinstance(value, int) and abs(value) >= MOST_WHOLE):
        raise ParseError("A number of the JSON is too large.")


class MayWrite(BasePermission):
    """Whoever changes something is known and holds no read token. What they may change, the rooms decide."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        actor: Actor = request.actor  # type: ignore[attr-defined]
        if request.method in SAFE_METHODS or getattr(view, "only_reads", False):
            return True
        self.message = "Sign in first." if not actor.is_known else "This token may only read; make one that may write."
        return actor.may_write


class ByPerson(BasePermission):
    """Tokens and rights are for people in a browser: a leaked token must not be able to make more of itself."""

    message = "Tokens and rights are changed in a signed-in browser session, never with a token."

    def has_permission(self, request: Request, view: APIView) -> bool:
        actor: Actor = request.actor  # type: ignore[attr-defined]
        return actor.is_known and actor.token is None


class Door(APIView):
    """A view of the API. `only_reads` marks a POST that changes nothing."""

    permission_classes = [MayWrite]
    parser_classes = [PlainJSON]
    only_reads = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse what no view can use, then count the request."""
        texts = [*map(str, kwargs.values()), *(value for _key, row in request.GET.lists() for value in row)]
        if any("\x00" in text for text in texts):
            raise NotFound("There is nothing here: an address has no zero bytes.")
        if (whole(request.META.get("CONTENT_LENGTH")) or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLarge
        super().initial(request, *args, **kwargs)
        kind = "api" if request.method in SAFE_METHODS else "write"
        self.allowance = throttle.take(request._request, self.actor, kind)
        if self.allowance and self.allowance.exceeded:
            raise Throttled(self.allowance.reset)
        if "kind" in kwargs:
            assert self.repo  # an unreadable repo is absent whatever the body says

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Say what is left of the limit, and that private answers are nobody else's."""
        response = super().finalize_response(request, response, *args, **kwargs)
        allowance = getattr(self, "allowance", None)
        if allowance and isinstance(response, HttpResponse):
            throttle.describe(response, allowance)
        response.setdefault("Cache-Control", "private, no-store")
        return response

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> NoReturn:
        """Nobody is asked to sign in; somebody is told why not."""
        if not self.actor.is_known:
            raise NotAuthenticated(message or "Sign in first.")
        raise PermissionDenied(message, code)

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return cast("Actor", self.request.actor)  # type: ignore[attr-defined]

    @cached_property
    def repo(self) -> Repo:
        """The repo of the address. Raises NotFound, also for what the actor may not read."""
        repo_id = f"{self.kwargs['owner']}/{self.kwargs['name']}"
        repos = Repo.objects.with_id(repo_id).visible_to(self.actor).select_related("owner")
        found = (repos.tasks() if self.kwargs["kind"] == "tasks" else repos.models()).first()
        if found is None:
            moved = lifecycle.moved_to(self.actor, repo_id, task=self.kwargs["kind"] == "tasks")
            if moved:
                raise RepoMoved(repo_id, moved.full_name)
            raise NotFound("There is no such repo, or you may not see it.")
        return found

    @cached_property
    def commit(self) -> Commit:
        """The commit that `?revision=` names; the default branch without it. Raises RevisionNotFound."""
        return trees.resolve_commit(self.repo, self.request.query_params.get("revision") or None)

    def read(self, shape: type[serializers.Serializer]) -> dict[str, Any]:
        """The body, checked. Raises ValidationError with a sentence for each field."""
        body = shape(data=self.request.data)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)


class Listing(Door, generics.ListAPIView):
    """A list of rows in pages; `rows()` says which."""

    def rows(self) -> Any:
        """The rows the actor may see, in order."""
        raise NotImplementedError

    def get_queryset(self) -> Any:
        """`rows()`, or nothing while the schema is generated."""
        model = getattr(self, "queryset", None)
        return model if getattr(self, "swagger_fake_view", False) else self.rows()

    def paged(self, rows: Any, shape: type[serializers.Serializer]) -> Response:
        """One page of any sequence."""
        return self.get_paginated_response(shape(self.paginate_queryset(rows), many=True).data)
