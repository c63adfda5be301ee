"""Merges: asked for, listed, shown."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub.jobs.models import State
from hub.repos.models import Repo
from hub.rest.door import Door, Listing
from hub.rest.once import once
from hub.rest.shapes import Shape
from merges.api.methods import RecipeBody
from merges.models import Merge
from merges.work.merging import ask_for_merge
from merges.work.showing import recipe_for, report_for


class MergeOrder(RecipeBody):
    target = serializers.CharField(max_length=200, help_text="owner/name of the result; made if it is not there.")
    private = serializers.BooleanField(required=False, allow_null=True, default=None)


class MergeRow(Shape):
    id = serializers.IntegerField()
    repo = serializers.CharField(source="repo.full_name")
    method = serializers.CharField(source="recipe.merge_method")
    owner = serializers.CharField(source="owner.name", default=None)
    fingerprint = serializers.CharField()
    job = serializers.UUIDField(source="job_id")
    state = serializers.ChoiceField(State.choices, source="job.state")
    result_sha = serializers.CharField()
    created_at = serializers.DateTimeField()


class MergeDetail(MergeRow):
    recipe = serializers.DictField(source="shown_recipe")
    report = serializers.DictField(source="shown_report")
    error = serializers.CharField(source="job.error")


class MergeFilter(filters.FilterSet):
    repo = filters.CharFilter(method="of_repo", help_text="owner/name of the result")
    owner = filters.CharFilter(field_name="owner__name", lookup_expr="iexact")
    method = filters.CharFilter(field_name="recipe__merge_method")

    class Meta:
        model = Merge
        fields: list[str] = []

    def of_repo(self, rows: QuerySet[Merge], _name: str, value: str) -> QuerySet[Merge]:
        """Those into one repo."""
        return rows.filter(repo__in=Repo.objects.models().with_id(value))


class MergesDoor(Listing):
    serializer_class = MergeRow
    queryset = Merge.objects.none()
    filterset_class = MergeFilter

    def rows(self) -> QuerySet[Merge]:
        """Into repos you may read, the newest first."""
        return Merge.objects.visible_to(self.actor).select_related("repo__owner", "owner", "job")

    @extend_schema(request=MergeOrder, responses={201: MergeDetail}, summary="Ask for a merge")
    def post(self, request: Request) -> Response:
        """Inputs are pinned to their commits of now; the job publishes the result."""
        asked = self.read(MergeOrder)
        return once(request, lambda: Response(detail(self, ask_for_merge(
            actor=self.actor, raw=asked["recipe"], target=asked["target"], private=asked["private"]
        )), status=201))  # fmt: skip


def detail(door: Door, merge: Merge) -> dict[str, Any]:
    """One merge for this actor."""
    merge.shown_recipe = recipe_for(door.actor, merge)  # type: ignore[attr-defined]
    merge.shown_report = report_for(door.actor, merge)  # type: ignore[attr-defined]
    return dict(MergeDetail(merge).data)


class MergeDoor(Door):
    @extend_schema(responses=MergeDetail, summary="Show a merge")
    def get(self, request: Request, merge: int) -> Response:
        """Recipe, job, result and report."""
        rows = Merge.objects.visible_to(self.actor).select_related("repo__owner", "owner", "job")
        return Response(detail(self, get_object_or_404(rows, pk=merge)))
