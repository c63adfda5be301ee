"""Collections over REST: made, filled, changed and deleted."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub.accounts.models import Account
from hub.collections import keeping
from hub.collections.models import Collection
from hub.repos.models import Kind, Repo
from hub.rest.door import Door, Listing
from hub.rest.shapes import Shape
from hub.rights import Denied


class CollectionRow(Shape):
    key = serializers.CharField(read_only=True)
    slug = serializers.CharField(read_only=True)
    owner = serializers.CharField(source="owner.name", required=False, help_text="You, unless said otherwise.")
    title = serializers.CharField(max_length=120)
    description = serializers.CharField(max_length=500, required=False, allow_blank=True)
    private = serializers.BooleanField(required=False)
    updated_at = serializers.DateTimeField(read_only=True)


class CollectedRow(Shape):
    key = serializers.CharField()
    repo = serializers.CharField(source="repo.full_name")
    kind = serializers.ChoiceField(Kind.choices, source="repo.kind")
    note = serializers.CharField()
    position = serializers.IntegerField()


class CollectionDetail(CollectionRow):
    items = CollectedRow(many=True)


class NewCollected(Shape):
    repo = serializers.CharField(max_length=200, help_text="owner/name")
    task = serializers.BooleanField(default=False, help_text="The task of that name, not the model.")
    note = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class CollectedChange(Shape):
    note = serializers.CharField(max_length=500, required=False, allow_blank=True)
    position = serializers.IntegerField(min_value=0, max_value=keeping.MOST_POSITION, required=False)


class CollectionsDoor(Listing):
    serializer_class = CollectionRow
    queryset = Collection.objects.none()
    filter_backends: list[Any] = []

    @extend_schema(parameters=[OpenApiParameter("owner", str)], summary="List collections")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Public ones, your own and those of your organisations, the newest change first."""
        return super().get(request, *args, **kwargs)

    def rows(self) -> QuerySet[Collection]:
        """Those of one owner, if one is named."""
        rows = keeping.collections_for(self.actor)
        owner = self.request.query_params.get("owner")
        return rows.filter(owner__name__iexact=owner) if owner else rows

    @extend_schema(request=CollectionRow, responses={201: CollectionRow}, summary="Make a collection")
    def post(self, request: Request) -> Response:
        """Empty at first."""
        asked = self.read(CollectionRow)
        name = asked.pop("owner", {}).get("name")
        owner = Account.objects.filter(name__iexact=name).first() if name else self.actor.account
        if owner is None:
            raise Denied(f"You may not change collections of {str(name)[:96]}.")
        return Response(CollectionRow(keeping.create(actor=self.actor, owner=owner, **asked)).data, status=201)


class CollectionDoor(Door):
    @cached_property
    def found(self) -> Collection:
        """The collection of the address. Raises NotFound."""
        row = keeping.find(self.actor, str(self.kwargs["key"]))
        if row is None:
            raise NotFound("There is no such collection, or you may not see it.")
        return row

    def _whole(self) -> Response:
        row: Any = self.found
        items = list(keeping.items_for(self.actor, row))
        return Response(CollectionRow(row).data | {"items": CollectedRow(items, many=True).data})

    @extend_schema(responses=CollectionDetail, summary="Show a collection")
    def get(self, request: Request, **_address: Any) -> Response:
        """With everything in it that you may know of."""
        return self._whole()

    @extend_schema(request=CollectionRow, responses=CollectionDetail, summary="Change a collection")
    def patch(self, request: Request, **_address: Any) -> Response:
        """Title, description, or whether it is private."""
        body = CollectionRow(data=request.data, partial=True)
        row = self.found
        body.is_valid(raise_exception=True)
        asked = {name: value for name, value in body.validated_data.items() if name != "owner"}
        keeping.update(actor=self.actor, row=row, **asked)
        return self._whole()

    @extend_schema(responses={204: None}, summary="Delete a collection")
    def delete(self, request: Request, **_address: Any) -> Response:
        """The repos stay."""
        keeping.delete(actor=self.actor, row=self.found)
        return Response(status=204)


class ItemsDoor(CollectionDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=NewCollected, responses={201: CollectedRow}, summary="Put a repo into a collection")
    def post(self, request: Request, **_address: Any) -> Response:
        """At its end; twice is once."""
        row, asked = self.found, self.read(NewCollected)
        known = Repo.objects.with_id(asked["repo"]).known_to(self.actor)
        repo = get_object_or_404((known.tasks() if asked["task"] else known.models()).select_related("owner"))
        item, _made = keeping.add(actor=self.actor, row=row, repo=repo, note=asked["note"])
        return Response(CollectedRow(item).data, status=201)


class ItemDoor(CollectionDoor):
    http_method_names = ["patch", "delete", "options"]

    @extend_schema(request=CollectedChange, responses=CollectedRow, summary="Change a note or a position")
    def patch(self, request: Request, **address: Any) -> Response:
        """By who keeps the collection."""
        item = get_object_or_404(keeping.items_for(self.actor, self.found), key=address["item"])
        return Response(CollectedRow(keeping.change(actor=self.actor, item=item, **self.read(CollectedChange))).data)

    @extend_schema(responses={204: None}, summary="Take a repo out of a collection")
    def delete(self, request: Request, **address: Any) -> Response:
        """The repo stays."""
        keeping.remove(actor=self.actor, item=get_object_or_404(keeping.items_for(self.actor, self.found),
                                                                key=address["item"]))  # fmt: skip
        return Response(status=204)
