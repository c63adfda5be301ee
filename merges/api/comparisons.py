"""Comparisons of merging methods, and statistics of adapters: asked for, listed, shown, their winner published."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub.jobs.models import State
from hub.rest.door import Door, Listing
from hub.rest.once import once
from hub.rest.shapes import Shape
from merges.api.merges import MergeDetail, detail
from merges.models import MergeComparison
from merges.work.comparing import MAX_INPUTS, MAX_METHODS, ask_for_comparison, publish_winner
from merges.work.measuring import ESTIMATORS, KINDS, LIKELIHOODS, ask_for_statistics


class ComparisonOrder(Shape):
    inputs = serializers.ListField(child=serializers.CharField(max_length=200), max_length=MAX_INPUTS)
    methods = serializers.ListField(
        child=serializers.CharField(max_length=60),
        max_length=MAX_METHODS,
        required=False,
        allow_null=True,
        default=None,
        help_text="Names of methods; ties+core works in a shared space.",
    )
    validation = serializers.IntegerField(min_value=8, max_value=2000, required=False, default=128)
    test = serializers.IntegerField(min_value=8, max_value=5000, required=False, default=500)
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False, default=0)
    fresh = serializers.BooleanField(
        required=False, default=False, help_text="Also teach a new adapter for each task on its validation texts."
    )


class ComparisonRow(Shape):
    id = serializers.IntegerField()
    owner = serializers.CharField(source="owner.name", default=None)
    order = serializers.DictField()
    job = serializers.UUIDField(source="job_id")
    state = serializers.ChoiceField(State.choices, source="job.state")
    created_at = serializers.DateTimeField()


class ComparisonDetail(ComparisonRow):
    report = serializers.DictField()
    error = serializers.CharField(source="job.error")


class WinnerOrder(Shape):
    target = serializers.CharField(max_length=200, help_text="owner/name of the result; made if it is not there.")
    method = serializers.CharField(max_length=60, required=False, allow_null=True, default=None)


class StatisticsOrder(Shape):
    adapter = serializers.CharField(max_length=200)
    task = serializers.CharField(max_length=200, required=False, allow_null=True, default=None)
    kinds = serializers.ListField(child=serializers.ChoiceField(KINDS), required=False, default=list(KINDS))
    estimator = serializers.ChoiceField(ESTIMATORS, required=False, default="exact")
    likelihood = serializers.ChoiceField(
        LIKELIHOODS, required=False, default="label", help_text="next_token: for adapters of causal language models."
    )
    examples = serializers.IntegerField(min_value=1, max_value=5000, required=False, default=256)
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False, default=0)


class QueuedDetail(Shape):
    job = serializers.UUIDField()


class ComparisonsDoor(Listing):
    serializer_class = ComparisonRow
    queryset = MergeComparison.objects.none()

    def rows(self) -> QuerySet[MergeComparison]:
        """Those of which you may read every adapter, task and base, the newest first."""
        return MergeComparison.objects.visible_to(self.actor).select_related("owner", "job")

    @extend_schema(request=ComparisonOrder, responses={201: ComparisonDetail}, summary="Compare merging methods")
    def post(self, request: Request) -> Response:
        """The same adapters through several methods, beside the controls, judged on the tasks they were taught on."""
        asked = self.read(ComparisonOrder)
        return once(
            request, lambda: Response(ComparisonDetail(ask_for_comparison(actor=self.actor, **asked)).data, status=201)
        )


class ComparisonDoor(Door):
    @extend_schema(responses=ComparisonDetail, summary="Show a comparison of methods")
    def get(self, request: Request, comparison: int) -> Response:
        """Controls and methods with accuracies, intervals, progress, paired tests and geometry; of language models also
        what each keeps of the base: `retention`, perplexity and KL(base‖merged) on neutral sentences."""
        return Response(ComparisonDetail(found(self, comparison)).data)


class WinnerDoor(Door):
    @extend_schema(request=WinnerOrder, responses={201: MergeDetail}, summary="Publish a comparison's winner")
    def post(self, request: Request, comparison: int) -> Response:
        """Queue the merge that won, or that of another method, with the settings the comparison chose."""
        row = found(self, comparison)
        asked = self.read(WinnerOrder)
        return once(request, lambda: Response(detail(self, publish_winner(
            actor=self.actor, comparison=row, target=asked["target"], method=asked["method"]
        )), status=201))  # fmt: skip


class StatisticsDoor(Door):
    @extend_schema(request=StatisticsOrder, responses={201: QueuedDetail}, summary="Measure an adapter's statistics")
    def post(self, request: Request) -> Response:
        """Fisher, Grams and prototype, measured on a task's train split and published beside the weights."""
        asked: dict[str, Any] = self.read(StatisticsOrder)
        asked["kinds"] = tuple(asked["kinds"])
        return once(
            request, lambda: Response({"job": str(ask_for_statistics(actor=self.actor, **asked).pk)}, status=201)
        )


def found(door: Door, comparison: int) -> MergeComparison:
    """The comparison, if this actor may see all it rests on."""
    rows = MergeComparison.objects.visible_to(door.actor).select_related("owner", "job")
    return get_object_or_404(rows, pk=comparison)
