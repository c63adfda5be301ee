"""Evaluations: asked for, listed, shown."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub import rights
from hub.jobs.models import State
from hub.repos.models import Repo
from hub.rest.door import Door, Listing
from hub.rest.once import once
from hub.rest.shapes import Shape
from merges.models import Evaluation, Origin
from merges.work.evaluating import ask_for_evaluation


class EvaluationOrder(Shape):
    subject = serializers.CharField(max_length=200, help_text="owner/name of an adapter, merge or base.")
    revision = serializers.CharField(max_length=255, required=False, allow_null=True, default=None)
    task = serializers.CharField(max_length=200, help_text="owner/name of a task.")
    task_revision = serializers.CharField(max_length=255, required=False, allow_null=True, default=None)
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False, default=0)
    settings = serializers.DictField(
        required=False, default=dict, help_text="template, shots, generate, weigh, most_tokens, retention, max_length."
    )


class EvaluationRow(Shape):
    """A score without a number is still being worked out, or its job failed."""

    id = serializers.IntegerField()
    subject = serializers.CharField(source="subject.full_name")
    subject_sha = serializers.CharField()
    task = serializers.CharField(source="task.full_name")
    task_sha = serializers.CharField()
    split = serializers.CharField()
    protocol = serializers.CharField()
    metric = serializers.CharField()
    score = serializers.FloatField(allow_null=True)
    standard_error = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    origin = serializers.ChoiceField(Origin.choices)
    settings = serializers.DictField()
    seed = serializers.IntegerField()
    owner = serializers.CharField(source="owner.name", default=None)
    job = serializers.UUIDField(source="job_id", allow_null=True)
    state = serializers.ChoiceField(State.choices, source="job.state", default=None, allow_null=True)
    created_at = serializers.DateTimeField()


class ComparedRow(Shape):
    """Against another evaluation on the same items."""

    subject = serializers.CharField(source="other.subject.full_name")
    evaluation = serializers.IntegerField(source="other_id")
    wins = serializers.IntegerField()
    losses = serializers.IntegerField()
    ties = serializers.IntegerField()
    difference = serializers.FloatField()
    standard_error = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    p = serializers.FloatField()


class EvaluationDetail(EvaluationRow):
    pairs = ComparedRow(many=True, source="shown_pairs")
    base = serializers.CharField(source="shown_base", allow_null=True)
    base_sha = serializers.CharField()
    scores = serializers.DictField()
    device = serializers.CharField()
    versions = serializers.DictField()
    seconds = serializers.FloatField(allow_null=True)
    error = serializers.CharField(source="job.error", default="")


class EvaluationFilter(filters.FilterSet):
    subject = filters.CharFilter(method="of_subject", help_text="owner/name")
    task = filters.CharFilter(method="of_task", help_text="owner/name")
    owner = filters.CharFilter(field_name="owner__name", lookup_expr="iexact")
    scored = filters.BooleanFilter(field_name="score", lookup_expr="isnull", exclude=True)
    sort = filters.OrderingFilter(fields=(("score", "score"), ("created_at", "created_at")))

    class Meta:
        model = Evaluation
        fields: list[str] = []

    def of_subject(self, rows: QuerySet[Evaluation], _name: str, value: str) -> QuerySet[Evaluation]:
        """Those of one base or adapter."""
        return rows.filter(subject__in=Repo.objects.models().with_id(value))

    def of_task(self, rows: QuerySet[Evaluation], _name: str, value: str) -> QuerySet[Evaluation]:
        """Those on one task."""
        return rows.filter(task__in=Repo.objects.tasks().with_id(value))


def detail(door: Door, row: Any) -> dict[str, Any]:
    """One evaluation for this actor; a base they may not read has no name."""
    row.shown_base = row.base.full_name if row.base and rights.can(door.actor, rights.Verb.READ, row.base) else None
    readable = Evaluation.objects.visible_to(door.actor)
    row.shown_pairs = row.paired.filter(other__in=readable).select_related("other__subject__owner")
    return dict(EvaluationDetail(row).data)


class EvaluationsDoor(Listing):
    serializer_class = EvaluationRow
    queryset = Evaluation.objects.none()
    filterset_class = EvaluationFilter

    def rows(self) -> QuerySet[Evaluation]:
        """Those whose subject and task you may both read, the newest first."""
        return Evaluation.objects.visible_to(self.actor).select_related("subject__owner", "task__owner", "owner", "job")

    @extend_schema(request=EvaluationOrder, responses={201: EvaluationDetail}, summary="Ask for an evaluation")
    def post(self, request: Request) -> Response:
        """On the task's test split. The same bytes are judged once: asked for again, the same row is answered."""
        asked = self.read(EvaluationOrder)
        return once(request, lambda: Response(detail(self, ask_for_evaluation(actor=self.actor, **asked)), status=201))


class EvaluationDoor(Door):
    @extend_schema(responses=EvaluationDetail, summary="Show an evaluation")
    def get(self, request: Request, evaluation: int) -> Response:
        """Scores with intervals, and everything needed to repeat them."""
        rows = Evaluation.objects.visible_to(self.actor)
        rows = rows.select_related("subject__owner", "task__owner", "base__owner", "owner", "job")
        return Response(detail(self, get_object_or_404(rows, pk=evaluation)))
