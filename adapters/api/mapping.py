"""The map's points."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.api.search import QUERY
from adapters.search.filters import Filters
from adapters.search.map import points
from hub.rest.door import Door
from hub.rest.shapes import Shape


class PointRow(Shape):
    repo = serializers.CharField(source="repo.full_name")
    kind = serializers.CharField(source="repo.kind")
    url = serializers.CharField(source="repo.get_absolute_url")
    x = serializers.FloatField(help_text="From -1 to 1.")
    y = serializers.FloatField(help_text="From -1 to 1.")
    layout = serializers.IntegerField(help_text="Points of one drawing keep their places.")


class MapDoor(Door):
    @extend_schema(parameters=QUERY, responses=PointRow(many=True), summary="The map of tasks and adapters")
    def get(self, request: Request) -> Response:
        """Where each task and adapter lies; what is near has similar texts."""
        return Response(PointRow(points(self.actor, Filters.from_query(request.query_params)), many=True).data)
