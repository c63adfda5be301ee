"""The tensors of a revision, who changed them last, and the history of one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.catalog import tensors
from adapters.models import Held
from hub.rest.door import Door, Listing
from hub.rest.repos import REVISION
from hub.rest.shapes import Shape

NAME = OpenApiParameter("name", str, required=True, description="The tensor's name.")


class TensorRow(Shape):
    """Facts of one tensor, measured from its bytes. `key` is equal for equal tensors, whatever their name."""

    name = serializers.CharField()
    key = serializers.CharField(source="tensor.key")
    sha256 = serializers.CharField(source="tensor.sha256")
    dtype = serializers.CharField(source="tensor.dtype")
    shape = serializers.ListField(child=serializers.IntegerField(), source="tensor.shape")
    norm = serializers.FloatField(source="tensor.norm", allow_null=True)
    smallest = serializers.FloatField(source="tensor.smallest", allow_null=True)
    greatest = serializers.FloatField(source="tensor.greatest", allow_null=True)
    nan = serializers.IntegerField(source="tensor.nan")
    infinite = serializers.IntegerField(source="tensor.infinite")
    zeros = serializers.IntegerField(source="tensor.zeros")
    changed_by = serializers.CharField(allow_null=True, help_text="The commit that last changed it.")


class StepRow(Shape):
    commit = serializers.CharField(source="commit.sha")
    title = serializers.CharField(source="commit.title")
    at = serializers.DateTimeField(source="commit.created_at")
    old_key = serializers.CharField(source="old", help_text="Empty where the tensor was made.")
    new_key = serializers.CharField(source="new", help_text="Empty where it was removed.")
    numbers = serializers.DictField(allow_null=True, help_text="As in a comparison; null where nobody compared.")
    effect = serializers.DictField(
        source="update", allow_null=True, help_text="The same of the LoRA update it is a factor of."
    )


class TwinRow(Shape):
    repo = serializers.CharField()
    name = serializers.CharField()


class HistoryDetail(Shape):
    name = serializers.CharField()
    steps = StepRow(many=True)
    elsewhere = TwinRow(many=True, help_text="Other repos you may read that hold the same tensor.")


class TensorsDoor(Listing):
    serializer_class = TensorRow
    queryset = Held.objects.none()

    @extend_schema(parameters=[REVISION], summary="Tensors of a revision")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """In file order, each with the commit that last changed it (blame)."""
        blamed = tensors.blame(self.repo, self.commit)
        rows = tensors.held_at(self.repo, self.commit)
        for row in rows:
            made = blamed.get(row.name)
            row.changed_by = made.sha if made else None  # type: ignore[attr-defined]
        return self.paged(rows, TensorRow)


class HistoryDoor(Door):
    @extend_schema(parameters=[NAME, REVISION], responses=HistoryDetail, summary="History of a tensor")
    def get(self, request: Request, **_address: Any) -> Response:
        """The commits that changed it, newest first, with how much. Also of one that is not there any more."""
        name = request.query_params.get("name", "")
        held = next((row for row in tensors.held_at(self.repo, self.commit) if row.name == name), None)
        found = tensors.twins(self.actor, self.repo, held.tensor_id) if held else []
        answer = {
            "name": name, "steps": tensors.history(self.repo, self.commit, name),
            "elsewhere": [{"repo": repo.full_name, "name": other} for repo, other in found],
        }  # fmt: skip
        return Response(HistoryDetail(answer).data)
