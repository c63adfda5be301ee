"""Teaching: orders checked, asked for, listed, shown, and compared with what else the examples could do."""

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
from merges.models import Teaching
from merges.training.intake import MOST_EXAMPLES
from merges.work.teaching.asking import TEST_SHARE, Order, ask_for_teaching
from merges.work.teaching.comparing import ask_for_comparison
from merges.work.teaching.preview import look_ahead
from merges.work.teaching.showing import shown_comparison, shown_start


class TeachingOrder(Shape):
    """Everything but the target and the examples (or a task that has some) may be left to the defaults."""

    target = serializers.CharField(max_length=200, help_text="owner/name of the specialist; made if it is not there.")
    examples = serializers.ListField(
        child=serializers.JSONField(), required=False, allow_null=True, default=None, max_length=2 * MOST_EXAMPLES,
        help_text='Objects such as {"text": "…", "label": "…"}, with "text_pair" for pairs.',
    )  # fmt: skip
    content = serializers.CharField(
        required=False, allow_null=True, default=None, trim_whitespace=False,
        help_text="Instead of `examples`: a text of JSONL, CSV with a header, or lines of text, tab, label.",
    )  # fmt: skip
    task = serializers.CharField(required=False, default="", allow_blank=True, max_length=200)
    base = serializers.CharField(required=False, default="", allow_blank=True, max_length=200)
    method = serializers.CharField(required=False, default="auto", max_length=20)
    settings = serializers.DictField(required=False, default=dict, help_text="Numbers instead of the method's own.")
    start = serializers.CharField(
        required=False, default="auto", max_length=200, help_text="auto, base, merge, lorahub, or owner/name."
    )
    seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**31 - 1)
    private = serializers.BooleanField(required=False, allow_null=True, default=None)
    join_labels = serializers.BooleanField(
        required=False, default=False, help_text="Labels that differ only by case or spaces become one."
    )
    test_share = serializers.FloatField(required=False, default=TEST_SHARE, min_value=0, max_value=0.5)
    at_most = serializers.IntegerField(
        required=False, default=0, min_value=0, max_value=MOST_EXAMPLES,
        help_text="So many of the examples are taught, of every label in turn, drawn by the seed; 0: all.",
    )  # fmt: skip
    license = serializers.CharField(required=False, default="other", max_length=64)


class RemarkRow(Shape):
    code = serializers.CharField()
    severity = serializers.ChoiceField(["error", "warning", "info"])
    message = serializers.CharField()
    rows = serializers.ListField(child=serializers.IntegerField())


class CostRow(Shape):
    seconds = serializers.FloatField()
    memory = serializers.IntegerField(help_text="Bytes")
    steps = serializers.IntegerField()
    flops = serializers.FloatField()


class QuotaRow(Shape):
    waiting = serializers.IntegerField(help_text="Your trainings waiting or running")
    at_once = serializers.IntegerField()
    today = serializers.IntegerField(help_text="Asked for within a day")
    a_day = serializers.IntegerField()


class TeachingPreview(Shape):
    ok = serializers.BooleanField(source="usable")
    remarks = RemarkRow(many=True)
    labels = serializers.DictField(child=serializers.IntegerField())
    taught = serializers.IntegerField()
    tested = serializers.IntegerField()
    task = serializers.CharField()
    base = serializers.CharField()
    settings = serializers.DictField(source="settings.to_dict", allow_null=True)
    estimate = CostRow(allow_null=True)
    quota = QuotaRow(allow_null=True)


class TeachingRow(Shape):
    id = serializers.IntegerField()
    repo = serializers.CharField(source="repo.full_name")
    task = serializers.CharField(source="task.full_name")
    task_sha = serializers.CharField()
    examples = serializers.IntegerField()
    method = serializers.CharField(source="settings.method")
    owner = serializers.CharField(source="owner.name", default=None)
    job = serializers.UUIDField(source="job_id")
    state = serializers.ChoiceField(State.choices, source="job.state")
    result_sha = serializers.CharField()
    created_at = serializers.DateTimeField()


class TeachingDetail(TeachingRow):
    base = serializers.CharField(source="shown_base", allow_null=True)
    base_sha = serializers.CharField()
    settings = serializers.DictField()
    start = serializers.DictField(source="shown_start")
    estimate = serializers.DictField()
    curve = serializers.ListField(child=serializers.DictField())
    report = serializers.DictField()
    comparison = serializers.DictField(source="shown_comparison")
    error = serializers.CharField(source="job.error")


class TeachingFilter(filters.FilterSet):
    repo = filters.CharFilter(method="of_repo", help_text="owner/name of the specialist")
    task = filters.CharFilter(method="of_task", help_text="owner/name of the task")
    owner = filters.CharFilter(field_name="owner__name", lookup_expr="iexact")

    class Meta:
        model = Teaching
        fields: list[str] = []

    def of_repo(self, rows: QuerySet[Teaching], _name: str, value: str) -> QuerySet[Teaching]:
        """Those of one specialist."""
        return rows.filter(repo__in=Repo.objects.models().with_id(value))

    def of_task(self, rows: QuerySet[Teaching], _name: str, value: str) -> QuerySet[Teaching]:
        """Those on one task."""
        return rows.filter(task__in=Repo.objects.tasks().with_id(value))


def order_of(asked: dict[str, Any]) -> Order:
    """The order a request describes."""
    given = asked["examples"]
    if given is None and asked["content"] is not None:
        given = asked["content"].encode("utf-8", "surrogatepass")
    return Order(
        target=asked["target"], given=given, task=asked["task"], base=asked["base"], method=asked["method"],
        settings=asked["settings"], start=asked["start"], seed=asked["seed"], private=asked["private"],
        join=asked["join_labels"], test_share=asked["test_share"], at_most=asked["at_most"],
        license=asked["license"],
    )  # fmt: skip


def detail(door: Door, row: Any) -> dict[str, Any]:
    """One teaching for this actor; a base, start or relative they may not read has no name."""
    row.shown_base = row.base.full_name if row.base and rights.can(door.actor, rights.Verb.READ, row.base) else None
    row.shown_start = shown_start(door.actor, row)
    row.shown_comparison = shown_comparison(door.actor, row)
    return dict(TeachingDetail(row).data)


class TeachingsDoor(Listing):
    serializer_class = TeachingRow
    queryset = Teaching.objects.none()
    filterset_class = TeachingFilter

    def rows(self) -> QuerySet[Teaching]:
        """Those whose specialist and task you may both read, the newest first."""
        return Teaching.objects.visible_to(self.actor).select_related("repo__owner", "task__owner", "owner", "job")

    @extend_schema(request=TeachingOrder, responses={201: TeachingDetail}, summary="Teach a specialist")
    def post(self, request: Request) -> Response:
        """The examples become a task repo at once; the job publishes the specialist. Again: a new revision."""
        asked = self.read(TeachingOrder)
        return once(
            request,
            lambda: Response(detail(self, ask_for_teaching(actor=self.actor, order=order_of(asked))), status=201),
        )


class TeachingCheckDoor(Door):
    only_reads = True

    @extend_schema(request=TeachingOrder, responses=TeachingPreview, summary="Check examples")
    def post(self, request: Request) -> Response:
        """Remarks by row, labels, what is held back, settings and cost, before any work; nothing is kept."""
        asked = self.read(TeachingOrder)
        found = look_ahead(actor=self.actor, order=order_of(asked))
        return Response(TeachingPreview(found).data)


class TeachingDoor(Door):
    @extend_schema(responses=TeachingDetail, summary="Show a teaching")
    def get(self, request: Request, teaching: int) -> Response:
        """Settings, start, live curve, estimate and cost, and the comparison if there is one."""
        return Response(detail(self, self._row(teaching)))

    def _row(self, teaching: int) -> Teaching:
        rows = Teaching.objects.visible_to(self.actor)
        rows = rows.select_related("repo__owner", "task__owner", "base__owner", "owner", "job")
        return get_object_or_404(rows, pk=teaching)


class TeachingComparisonDoor(TeachingDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=None, responses={201: TeachingDetail}, summary="Compare a specialist honestly")
    def post(self, request: Request, teaching: int) -> Response:
        """Queue the report beside prompting, the nearest specialist and a linear probe; asked again, the same job."""
        row = ask_for_comparison(actor=self.actor, row=self._row(teaching))
        return Response(detail(self, row), status=201)
