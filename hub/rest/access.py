"""Gated repos over REST: asking to be let in, and answering."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotAuthenticated, NotFound
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub.repos import access
from hub.repos.models import AccessRequest, Gate, Repo
from hub.rest.door import Door, Listing
from hub.rest.shapes import Shape

ACCESS_STATES = AccessRequest.State.choices


class AccessRow(Shape):
    repo = serializers.CharField(source="repo.full_name")
    account = serializers.CharField(source="account.name")
    state = serializers.ChoiceField(ACCESS_STATES)
    text = serializers.CharField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()


class NewAccess(Shape):
    text = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")


class AccessAnswer(Shape):
    state = serializers.ChoiceField(ACCESS_STATES)
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")


class GateShape(Shape):
    gated = serializers.ChoiceField(Gate.choices, allow_blank=True, help_text="Empty: no gate.")


class KnownDoor(Door):
    """A view of a repo that one may know of without being able to read it."""

    @cached_property
    def repo(self) -> Repo:
        """The repo of the address. Raises NotFound, also for what the actor may not know of."""
        known = Repo.objects.with_id(f"{self.kwargs['owner']}/{self.kwargs['name']}").known_to(self.actor)
        found = (known.tasks() if self.kwargs["kind"] == "tasks" else known.models()).select_related("owner").first()
        if found is None:
            raise NotFound("There is no such repo, or you may not see it.")
        return found


class AccessDoor(KnownDoor):
    @extend_schema(responses=AccessRow(many=True), summary="List requests to read a gated repo")
    def get(self, request: Request, **_address: Any) -> Response:
        """By who administers it."""
        rows = list(access.every_request(self.actor, self.repo))
        for row in rows:
            row.repo = self.repo
        return Response(AccessRow(rows, many=True).data)

    @extend_schema(request=NewAccess, responses={201: AccessRow}, summary="Ask to read a gated repo")
    def post(self, request: Request, **_address: Any) -> Response:
        """Its owner is told; asking again changes nothing."""
        row = access.ask(actor=self.actor, repo=self.repo, text=self.read(NewAccess)["text"])
        return Response(AccessRow(row).data, status=201)


class AccessAnswerDoor(KnownDoor):
    http_method_names = ["put", "options"]

    @extend_schema(request=AccessAnswer, responses=AccessRow, summary="Answer a request to read a gated repo")
    def put(self, request: Request, **address: Any) -> Response:
        """By who administers it; who asked is told."""
        rows = access.every_request(self.actor, self.repo)
        row = get_object_or_404(rows, account__name__iexact=address["account"])
        row.repo = self.repo
        return Response(AccessRow(access.answer(actor=self.actor, row=row, **self.read(AccessAnswer))).data)


class GateDoor(Door):
    http_method_names = ["get", "put", "options"]

    @extend_schema(responses=GateShape, summary="Show a repo's gate")
    def get(self, request: Request, **_address: Any) -> Response:
        """None, whoever asks, or whom its owner accepts."""
        return Response(GateShape(self.repo).data)

    @extend_schema(request=GateShape, responses=GateShape, summary="Close or open a repo's gate")
    def put(self, request: Request, **_address: Any) -> Response:
        """By who administers it."""
        access.set_gate(actor=self.actor, repo=self.repo, gated=self.read(GateShape)["gated"])
        return Response(GateShape(self.repo).data)


class WaitingAccessDoor(Listing):
    serializer_class = AccessRow
    queryset = AccessRequest.objects.none()
    filter_backends: list[Any] = []

    def rows(self) -> QuerySet[AccessRequest]:
        """Unanswered requests to read what you administer, the oldest first. Raises NotAuthenticated."""
        if self.actor.account is None:
            raise NotAuthenticated("Sign in first.")
        return access.waiting_for(self.actor)
