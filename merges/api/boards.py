"""Leaderboards, suites, items, and scores from elsewhere."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseRedirect
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub.repos.models import Repo
from hub.rest.door import Door, Listing
from hub.rest.once import once
from hub.rest.shapes import Shape
from hub.store import objects
from merges.api.evaluations import EvaluationRow
from merges.evaluation import items as item_files
from merges.models import Evaluation, Origin, Suite
from merges.work import leaderboards, outside, pairing, suites
from merges.work.evaluating import ask_for_matrix, ask_for_suite

FILTERS = [
    OpenApiParameter("base", str, description="owner/name"),
    OpenApiParameter("most_share", float, description="Largest share of the base's parameters to be trained."),
    OpenApiParameter("origin", str, enum=Origin.values),
    OpenApiParameter("revision", str, description="The task's commit; the newest judged one without it."),
]


class EntryRow(Shape):
    """One line of a leaderboard; equal ranks are ties. `evaluation` is absent on suites."""

    rank = serializers.IntegerField()
    tied = serializers.BooleanField()
    subject = serializers.CharField()
    sha = serializers.CharField()
    origin = serializers.ChoiceField(Origin.choices)
    score = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    standard_error = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField(allow_null=True)
    base = serializers.CharField()
    trained_parameters = serializers.IntegerField(source="parameters", allow_null=True)
    share_of_base = serializers.FloatField(source="share", allow_null=True)
    evaluation = serializers.IntegerField(source="key")
    parts = serializers.ListField(child=serializers.FloatField())
    evaluated_at = serializers.DateTimeField(source="at")


class BoardDoor(Listing):
    serializer_class = EntryRow
    filter_backends: list[Any] = []

    @extend_schema(parameters=FILTERS, summary="Show a task's leaderboard")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Each subject's newest score, best first."""
        named = Repo.objects.tasks().with_id(f"{kwargs['owner']}/{kwargs['name']}").visible_to(self.actor)
        task = named.select_related("owner").first()
        if task is None:
            raise NotFound("There is no such task, or you may not see it.")
        entries = leaderboards.task_board(self.actor, task, leaderboards.read_filters(request.query_params))
        return self.paged(entries, EntryRow)


class PartShape(Shape):
    task = serializers.CharField(max_length=200)
    revision = serializers.CharField(max_length=255, required=False, allow_null=True, default=None)
    settings = serializers.DictField(required=False, default=dict)


class NewSuite(Shape):
    name = serializers.CharField(max_length=60)
    title = serializers.CharField(max_length=120, required=False, default="", allow_blank=True)
    description = serializers.CharField(max_length=5000, required=False, default="", allow_blank=True)
    tasks = PartShape(many=True)


class SuiteTask(Shape):
    task = serializers.CharField(source="task.full_name")
    sha = serializers.CharField(source="task_sha")
    split = serializers.CharField()
    metric = serializers.CharField()
    settings = serializers.DictField()


class SuiteRow(Shape):
    name = serializers.CharField()
    version = serializers.IntegerField()
    title = serializers.CharField()
    owner = serializers.CharField(source="owner.name", default=None)
    created_at = serializers.DateTimeField()


class SuiteDetail(SuiteRow):
    description = serializers.CharField()
    tasks = SuiteTask(many=True, source="parts")


class SuitesDoor(Listing):
    serializer_class = SuiteRow
    queryset = Suite.objects.none()
    filter_backends: list[Any] = []

    def rows(self) -> Any:
        """The newest version of each."""
        return Suite.objects.newest().select_related("owner")

    @extend_schema(request=NewSuite, responses={201: SuiteDetail}, summary="Publish a suite")
    def post(self, request: Request) -> Response:
        """Tasks at pinned commits. A name of yours that exists gets its next version; versions never change."""
        asked = self.read(NewSuite)
        parts = [suites.Part(**part) for part in asked["tasks"]]
        suite = suites.publish_suite(
            actor=self.actor, name=asked["name"], title=asked["title"], description=asked["description"], parts=parts
        )
        return Response(shown(self, suite), status=201)


def shown(door: Door, suite: Any) -> dict[str, Any]:
    """A suite with the tasks this actor may read."""
    suite.parts = suites.visible_entries(door.actor, suite)
    return dict(SuiteDetail(suite).data)


class SuiteDoor(Door):
    @property
    def suite(self) -> Suite:
        """The suite of the address. Raises Http404."""
        rows = Suite.objects.select_related("owner")
        return get_object_or_404(rows, name=self.kwargs["suite"], version=self.kwargs["version"])

    @extend_schema(responses=SuiteDetail, summary="Show a suite")
    def get(self, request: Request, **_address: Any) -> Response:
        """Its tasks, commits and protocols."""
        return Response(shown(self, self.suite))


class SuiteBoardDoor(Listing):
    serializer_class = EntryRow
    filter_backends: list[Any] = []

    @extend_schema(parameters=FILTERS[:3], summary="Show a suite's leaderboard")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Subjects judged on all of it, by their mean score."""
        suite = get_object_or_404(Suite, name=kwargs["suite"], version=kwargs["version"])
        filters = leaderboards.read_filters(request.query_params)
        return self.paged(leaderboards.suite_board(self.actor, suite, filters), EntryRow)


class SuiteOrder(Shape):
    subject = serializers.CharField(max_length=200)
    revision = serializers.CharField(max_length=255, required=False, allow_null=True, default=None)


class SuiteRunDoor(SuiteDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=SuiteOrder, responses={201: EvaluationRow(many=True)}, summary="Run a suite")
    def post(self, request: Request, **_address: Any) -> Response:
        """One evaluation for each task; the same bytes are judged once."""
        asked, suite = self.read(SuiteOrder), self.suite
        return once(
            request,
            lambda: Response(
                EvaluationRow(ask_for_suite(actor=self.actor, suite=suite, **asked), many=True).data, status=201
            ),
        )


class MatrixOrder(Shape):
    subjects = serializers.ListField(child=serializers.CharField(max_length=200), min_length=1, max_length=200)
    tasks = serializers.ListField(child=serializers.CharField(max_length=200), min_length=1, max_length=200)
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False, default=0)
    settings = serializers.DictField(required=False, default=dict)


class MatrixDoor(Door):
    @extend_schema(request=MatrixOrder, responses={201: EvaluationRow(many=True)}, summary="Judge many on many")
    def post(self, request: Request) -> Response:
        """Every subject on every task, one job for each base: the base is loaded once."""
        asked = self.read(MatrixOrder)
        return once(
            request,
            lambda: Response(EvaluationRow(ask_for_matrix(actor=self.actor, **asked), many=True).data, status=201),
        )


class ImportOrder(Shape):
    subject = serializers.CharField(max_length=200)
    revision = serializers.CharField(max_length=255, required=False, allow_null=True, default=None)
    tasks = serializers.DictField(
        child=serializers.CharField(max_length=200), help_text="Their task → owner/name here."
    )
    results = serializers.JSONField(help_text="A results_*.json of lm-evaluation-harness 0.4.")


class ImportDoor(Door):
    @extend_schema(request=ImportOrder, responses={201: EvaluationRow(many=True)}, summary="Bring outside scores")
    def post(self, request: Request) -> Response:
        """Shown as claimed (one's own work) or community (others')."""
        rows = outside.import_results(actor=self.actor, **self.read(ImportOrder))
        return Response(EvaluationRow(rows, many=True).data, status=201)


class ItemRow(Shape):
    row = serializers.IntegerField()
    text = serializers.CharField()
    text_pair = serializers.CharField(allow_null=True)
    expected = serializers.CharField()
    predicted = serializers.CharField()
    right = serializers.BooleanField()
    score = serializers.FloatField()


class ItemsDoor(Listing):
    serializer_class = ItemRow
    filter_backends: list[Any] = []

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation of the address. Raises Http404."""
        rows = Evaluation.objects.visible_to(self.actor).select_related("subject__owner", "task__owner")
        return get_object_or_404(rows, pk=self.kwargs["evaluation"])

    @extend_schema(
        parameters=[OpenApiParameter("show", str, enum=["worst", "wrong", "right", "all"]),
                    OpenApiParameter("expected", str), OpenApiParameter("predicted", str)],
        summary="List the items of an evaluation",
    )  # fmt: skip
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The surest mistakes first, unless asked otherwise."""
        row, asked = self.evaluation, request.query_params
        rows = item_files.read(pairing.read_items(row.items_id)) if row.items_id else []
        found = item_files.select(
            rows,
            show=asked.get("show", "worst"),
            expected=asked.get("expected", ""),
            predicted=asked.get("predicted", ""),
        )
        return self.paged(found, ItemRow)


class ItemsFileDoor(ItemsDoor):
    @extend_schema(responses={302: None}, summary="Download the items of an evaluation")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseRedirect:  # type: ignore[override]
        """All of them as Parquet."""
        row = self.evaluation
        if row.items is None:
            raise NotFound("The items of this evaluation were not kept.")
        return HttpResponseRedirect(
            objects.presigned_get(
                row.items.key,
                filename=f"evaluation-{row.pk}.parquet",
                content_type="application/octet-stream",
                seconds=300,
            )
        )


class LmEvalDoor(ItemsDoor):
    @extend_schema(responses=OpenApiTypes.OBJECT, summary="An evaluation as lm-evaluation-harness writes it")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The layout of its results files."""
        row = self.evaluation
        if row.score is None:
            raise NotFound("There is no score yet.")
        return Response(outside.export_results([row]))
