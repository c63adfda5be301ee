"""Jobs and activity."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub.activity.models import Event
from hub.jobs import queue
from hub.jobs.models import Job, Queue, State
from hub.repos.models import Repo
from hub.rest.door import Door, Listing
from hub.rest.shapes import Shape


class JobRow(Shape):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    title = serializers.CharField()
    state = serializers.ChoiceField(State.choices)
    queue = serializers.ChoiceField(Queue.choices)
    share = serializers.FloatField(help_text="Progress from 0 to 1.")
    note = serializers.CharField()
    owner = serializers.CharField(source="owner.name", default=None)
    repo = serializers.CharField(source="repo.full_name", default=None)
    attempt = serializers.IntegerField()
    error = serializers.CharField()
    url = serializers.CharField(source="get_absolute_url")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)


class JobDetail(JobRow):
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    cancel_requested = serializers.BooleanField()
    result = serializers.DictField()


class EventRow(Shape):
    actor = serializers.CharField(source="actor.name", default=None)
    verb = serializers.CharField()
    repo = serializers.CharField(source="repo.full_name", default=None)
    data = serializers.DictField()  # type: ignore[assignment]  # DRF takes declared fields off the class
    at = serializers.DateTimeField()


class JobFilter(filters.FilterSet):
    state = filters.MultipleChoiceFilter(choices=State.choices)
    kind = filters.CharFilter()
    owner = filters.CharFilter(field_name="owner__name", lookup_expr="iexact")
    repo = filters.CharFilter(method="of_repo", help_text="owner/name")

    class Meta:
        model = Job
        fields: list[str] = []

    def of_repo(self, rows: QuerySet[Job], _name: str, value: str) -> QuerySet[Job]:
        """Those about one repo."""
        return rows.filter(repo__in=Repo.objects.with_id(value))


class JobsDoor(Listing):
    serializer_class = JobRow
    queryset = Job.objects.none()
    filterset_class = JobFilter

    def rows(self) -> QuerySet[Job]:
        """Of repos you may read, and your own; the newest first."""
        return Job.objects.visible_to(self.actor).select_related("owner", "repo__owner")


class JobDoor(Door):
    @property
    def job(self) -> Job:
        """The job of the address. Raises Http404."""
        rows = Job.objects.visible_to(self.actor).select_related("owner", "repo__owner")
        return get_object_or_404(rows, pk=self.kwargs["job"])

    @extend_schema(responses=JobDetail, summary="Show a job")
    def get(self, request: Request, **_address: Any) -> Response:
        """Its state, progress, result, or why it failed."""
        return Response(JobDetail(self.job).data)


class CancelDoor(JobDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=None, responses=JobDetail, summary="Cancel a job")
    def post(self, request: Request, **_address: Any) -> Response:
        """At once if it waits, at its next step if it runs."""
        return Response(JobDetail(queue.cancel(actor=self.actor, job=self.job)).data)


def events_for(door: Door) -> QuerySet[Event]:
    """What happened to repos that the actor may read, and what they did themselves; the newest first."""
    readable = Q(repo__in=Repo.objects.visible_to(door.actor))
    own = Q(actor=door.actor.account, repo=None) if door.actor.account else Q(pk__in=[])
    return Event.objects.filter(readable | own).select_related("actor", "repo__owner").order_by("-at", "-pk")


class EventFilter(filters.FilterSet):
    actor = filters.CharFilter(field_name="actor__name", lookup_expr="iexact")
    verb = filters.CharFilter()

    class Meta:
        model = Event
        fields: list[str] = []


class ActivityDoor(Listing):
    serializer_class = EventRow
    queryset = Event.objects.none()
    filterset_class = EventFilter

    def rows(self) -> QuerySet[Event]:
        """Of all repos you may read."""
        return events_for(self)


class RepoActivityDoor(ActivityDoor):
    def rows(self) -> QuerySet[Event]:
        """Of one repo."""
        return events_for(self).filter(repo=self.repo)
