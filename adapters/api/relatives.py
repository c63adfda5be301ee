"""Nearest by adapter and by task, with the evidence."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.models import Embedding
from adapters.search.filters import Filters
from adapters.search.relatives import BY_NAME, LISTS, relatives
from hub.numerals import whole
from hub.rest.door import Door
from hub.rest.shapes import Shape

MOST = 50
LIST = OpenApiParameter("list", str, enum=list(BY_NAME), description="One of the lists; all of them if left out.")
NARROW = [
    OpenApiParameter(name, str, many=True, description="May be repeated: any of the values.")
    for name in ("kind", "base", "license", "task", "language", "tag")
]


class EvidenceRow(Shape):
    one = serializers.CharField(help_text="An example or label of this repo, or the place in the base.")
    other = serializers.CharField(help_text="The nearest example or label of the other; empty for places.")
    cosine = serializers.FloatField()


class NearRow(Shape):
    """A near repo. `exact` false: compared by sketches, whose error is about 0.02."""

    repo = serializers.CharField(source="repo.full_name")
    kind = serializers.CharField(source="repo.kind")
    url = serializers.CharField(source="repo.get_absolute_url")
    base = serializers.CharField(source="repo.facts.base", default=None)
    licence = serializers.CharField(source="repo.card.license", default=None)
    score = serializers.FloatField()
    exact = serializers.BooleanField()
    evidence = EvidenceRow(many=True)


class NearList(Shape):
    list = serializers.ChoiceField(list(BY_NAME))
    title = serializers.CharField()
    says = serializers.CharField()
    near = NearRow(many=True)


class EmbeddingRow(Shape):
    """One vector of a repo and how it came about."""

    method = serializers.CharField()
    version = serializers.IntegerField()
    probe = serializers.CharField(help_text="sha256 of the encoder's or base's weights; vectors compare within one.")
    commit = serializers.CharField(source="sha")
    origin = serializers.CharField()
    examples = serializers.IntegerField(source="count")
    made_from = serializers.CharField(source="source.full_name", default=None)
    seconds = serializers.FloatField()
    device = serializers.CharField()
    job = serializers.UUIDField(source="job_id", allow_null=True)
    details = serializers.DictField()
    vector = serializers.ListField(child=serializers.FloatField())
    made_at = serializers.DateTimeField(source="created_at")


class RelativesDoor(Door):
    @extend_schema(parameters=[LIST, *NARROW], responses=NearList(many=True), summary="Near adapters and tasks")
    def get(self, request: Request, **_address: Any) -> Response:
        """Similar texts, similar question, similar behaviour and near-copies, nearest first, with evidence."""
        assert self.repo
        wanted = request.query_params.get("list")
        if wanted and wanted not in BY_NAME:
            raise ValidationError({"list": [f"There is no list '{wanted[:40]}'. Known: {', '.join(BY_NAME)}."]})
        count = whole(request.query_params.get("limit"), MOST) or 8
        narrowed = Filters.from_query(request.query_params)
        found = [
            {"list": kind.name, "title": kind.title, "says": kind.says,
             "near": relatives(self.actor, self.repo, kind.name, narrowed, count)}
            for kind in LISTS
            if not wanted or kind.name == wanted
        ]  # fmt: skip
        return Response(NearList(found, many=True).data)


class EmbeddingsDoor(Door):
    @extend_schema(responses=EmbeddingRow(many=True), summary="Vectors of a repo's head")
    def get(self, request: Request, **_address: Any) -> Response:
        """Each with method, version, probe, provenance and cost."""
        rows = Embedding.objects.visible_to(self.actor).filter(repo=self.repo).select_related("source__owner")
        return Response(EmbeddingRow(rows.order_by("method"), many=True).data)
