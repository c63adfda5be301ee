"""What changed between two revisions, of one repo or of two."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.catalog.comparing import compare_files, tensor_changes
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Commit, Repo
from hub.rest.door import Door
from hub.rest.shapes import Shape

SIDES = [
    OpenApiParameter(side, str, required=True, description="owner/name@revision; tasks/owner/name@revision for a task.")
    for side in ("left", "right")
]


class Side(Shape):
    repo = serializers.CharField()
    commit = serializers.CharField()


class FileChangeRow(Shape):
    path = serializers.CharField()
    status = serializers.ChoiceField(["added", "removed", "changed", "unchanged"])
    left_size = serializers.IntegerField(source="left.size", default=None)
    right_size = serializers.IntegerField(source="right.size", default=None)
    diff = serializers.ListField(child=serializers.CharField(), source="text", help_text="Of small texts, as git's.")


class TensorChangeRow(Shape):
    name = serializers.CharField()
    status = serializers.CharField()
    shape = serializers.JSONField()
    dtype = serializers.JSONField()
    relative_norm = serializers.FloatField(allow_null=True)
    max_abs = serializers.FloatField(allow_null=True)
    cosine_distance = serializers.FloatField(allow_null=True)
    share_changed = serializers.FloatField(allow_null=True)


class WeightsRow(Shape):
    """Tensors of one file. With a `job` they are being compared; ask again when it has ended."""

    path = serializers.CharField()
    summary = serializers.CharField()
    tensors = TensorChangeRow(many=True)
    job = serializers.UUIDField(allow_null=True)


class CompareDetail(Shape):
    left = Side()
    right = Side()
    files = FileChangeRow(many=True)
    weights = WeightsRow(many=True)


def revision_named(actor: Actor, text: str) -> tuple[Repo, Commit]:
    """The repo and commit of `[tasks/]owner/name[@revision]`. Raises NotFound, RevisionNotFound."""
    name, _, revision = text.partition("@")
    task, name = name.startswith("tasks/"), name.removeprefix("tasks/")
    repos = Repo.objects.with_id(name).visible_to(actor).select_related("owner")
    repo = (repos.tasks() if task else repos.models()).first() if name.count("/") == 1 else None
    if repo is None:
        raise NotFound(f"There is no repo '{text[:200]}' that you may read; write owner/name@revision.")
    return repo, trees.resolve_commit(repo, revision or None)


class CompareDoor(Door):
    @extend_schema(parameters=SIDES, responses=CompareDetail, summary="Compare two revisions")
    def get(self, request: Request) -> Response:
        """Files at once; tensors of changed weights once a job has compared them (asked for by a known person)."""
        left, before = revision_named(self.actor, request.query_params.get("left", ""))
        right, after = revision_named(self.actor, request.query_params.get("right", ""))
        files = compare_files(left, before, right, after)
        weights = [
            {"path": change.path, "summary": found.summary if found else "", "tensors": found.changes if found else [],
             "job": job.pk if job else None}
            for change, found, job in tensor_changes(files, self.actor, left if left.private else right)
        ]  # fmt: skip
        sides = {"left": {"repo": left.full_name, "commit": before.sha}, "right": {"repo": right.full_name,
                 "commit": after.sha}}  # fmt: skip
        return Response(CompareDetail({**sides, "files": files, "weights": weights}).data)
