"""Search: the list of repos, and the counts beside it."""

from __future__ import annotations

from typing import Any

from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.search.facets import facets
from adapters.search.filters import FACETS, Filters
from adapters.search.listing import SORTS, listing
from hub.repos.models import Kind, Repo
from hub.rest.door import Door, Listing
from hub.rest.repos import NewRepoDoor
from hub.rest.shapes import RepoRow, Shape

QUERY = [
    OpenApiParameter("q", str, description="Words of the name, owner or description; all must be there."),
    *(
        OpenApiParameter(name, str, many=True, description="May be repeated: any of the values.")
        for name in FACETS
        if name != "kind"
    ),
    OpenApiParameter("kind", str, many=True, enum=Kind.values),
]
SORT = OpenApiParameter("sort", str, enum=list(SORTS), description="Last updated first if left out.")


class FacetRow(Shape):
    value = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # DRF takes declared fields off the class
    count = serializers.IntegerField()
    selected = serializers.BooleanField()


class Sorting(filters.FilterSet):
    """Refuses an order that is none; the filters themselves are read by `Filters`."""

    sort = filters.ChoiceFilter(choices=list(SORTS.items()), method="leave")

    class Meta:
        model = Repo
        fields: list[str] = []

    def leave(self, rows: Any, _name: str, _value: str) -> Any:
        """The order is made where the rows are chosen."""
        return rows


class ReposDoor(NewRepoDoor, Listing):
    serializer_class = RepoRow
    queryset = Repo.objects.none()
    filterset_class = Sorting

    @extend_schema(parameters=[*QUERY, SORT], summary="Search repos")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Bases, adapters and tasks that you may read, and gated ones that you may ask for."""
        return super().get(request, *args, **kwargs)

    def rows(self) -> Any:
        """The repos of the search."""
        query = self.request.query_params
        return listing(self.actor, Filters.from_query(query), query.get("sort", ""), known=True)


FACETS_ANSWER = type("Facets", (Shape,), {name: FacetRow(many=True) for name in FACETS})


class FacetsDoor(Door):
    @extend_schema(parameters=QUERY, responses=FACETS_ANSWER, summary="Count what each filter would leave")
    def get(self, request: Request) -> Response:
        """For the same search as `/repos`; counts of a filter leave out its own values."""
        return Response(FACETS_ANSWER(facets(self.actor, Filters.from_query(request.query_params))).data)
