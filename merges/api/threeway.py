"""Tensor-level merges of change requests whose weights are in conflict."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from hub.jobs.models import State
from hub.rest.once import once
from hub.rest.review import ChangeRequestDoor
from hub.rest.shapes import Shape
from merges.threeway import strategies
from merges.work.reconciling import as_recipe, ask_for_merge, ask_for_preview, conflict_of, measured


class RuleBody(serializers.Serializer):
    match = serializers.CharField(default="*", help_text="A glob over names of tensors, modules or files.")
    strategy = serializers.CharField(default="mean", help_text="ours, theirs, original or a merge method.")
    ours = serializers.FloatField(default=1.0, help_text="Weight of the target's change.")
    theirs = serializers.FloatField(default=1.0, help_text="Weight of the proposed change.")
    parameters = serializers.DictField(required=False, default=dict, help_text="Of the merge method.")


class TensorMergeOrder(serializers.Serializer):
    rules = RuleBody(many=True, help_text="The first rule that matches a name counts; without one it is the mean.")


class TensorMergeDetail(Shape):
    """`folders` tells, for each folder of weights, counts by who changed what, and the tensors both changed with the
    cosine of the two changes and the share of values they changed in the same direction. It is there once the job that
    looks at both sides has ended."""

    original = serializers.CharField(allow_null=True)
    ours = serializers.CharField(allow_null=True)
    theirs = serializers.CharField(allow_null=True)
    paths = serializers.ListField(child=serializers.CharField(), help_text="Files in conflict.")
    strategies = serializers.DictField(child=serializers.CharField())
    folders = serializers.DictField(child=serializers.DictField())
    recipe = serializers.DictField(allow_null=True, help_text="Both sides, pinned, as a recipe for the merge lab.")
    job = serializers.UUIDField(allow_null=True)


class JobStarted(Shape):
    job = serializers.UUIDField(source="id")
    state = serializers.ChoiceField(State.choices)
    url = serializers.CharField(source="get_absolute_url")


class TensorMergeDoor(ChangeRequestDoor):
    http_method_names = ["get", "post", "head", "options"]

    @extend_schema(responses=TensorMergeDetail, summary="Both sides of a change request, tensor by tensor")
    def get(self, request: Request, **_address: Any) -> Response:
        """What both its target and it changed since they parted; nothing where no file is in conflict."""
        conflict = conflict_of(self.found)
        job = ask_for_preview(self.actor, conflict) if conflict else None
        return Response(TensorMergeDetail({
            "original": conflict.original.sha if conflict else None, "ours": conflict.ours.sha if conflict else None,
            "theirs": conflict.theirs.sha if conflict else None, "paths": list(conflict.paths) if conflict else [],
            "strategies": strategies(measured(conflict) if conflict else ()),
            "recipe": as_recipe(conflict) if conflict and conflict.folders else None,
            "folders": job.result.get("folders", {}) if job else {},
            "job": job.pk if job else None,
        }).data)  # fmt: skip

    @extend_schema(request=TensorMergeOrder, responses={202: JobStarted}, summary="Merge its target into it by rules")
    def post(self, request: Request, **_address: Any) -> Response:
        """By its author, the repo's writers and maintainers. The result is a commit on the change request's ref."""
        asked, found = self.read(TensorMergeOrder), self.found
        rules = [dict(rule) for rule in asked["rules"]]
        return once(request, lambda: Response(JobStarted(ask_for_merge(self.actor, found, rules)).data, status=202))
