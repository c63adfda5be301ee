"""What changed between two revisions, of one repo or of two."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.catalog import comparing, naming
from adapters.catalog.comparing import Compared
from hub.accounts.actor import Actor
from hub.repos.models import Commit, Repo
from hub.rest.door import Door
from hub.rest.shapes import Shape

SIDES = [
    OpenApiParameter(side, str, required=True, description="owner/name@revision; tasks/owner/name@revision for a task.")
    for side in ("left", "right")
]
UNCHANGED = OpenApiParameter("unchanged", bool, description="Also list tensors that did not change.")
STATUSES = ["added", "removed", "renamed", "reshaped", "cast", "equivalent", "changed", "unchanged"]
UPDATES = ["", "cast", "rows", "scale", "sparse", "low_rank", "mean", "dense", "factors", "moved"]


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
    """One tensor, or (`unit` update) what an adapter does to one module. Norms are of float64 sums.

    `update` is a guess at the kind of change with its `evidence`; `exact` where that kind rebuilds every bit.
    """

    name = serializers.CharField()
    unit = serializers.ChoiceField(["tensor", "update"])
    status = serializers.ChoiceField(STATUSES)
    shape = serializers.ListField(child=serializers.IntegerField())
    dtype = serializers.CharField()
    old_name = serializers.CharField(allow_null=True)
    old_shape = serializers.ListField(child=serializers.IntegerField(), allow_null=True)
    old_dtype = serializers.CharField(allow_null=True)
    relative_norm = serializers.FloatField(allow_null=True)
    max_abs = serializers.FloatField(allow_null=True)
    cosine_distance = serializers.FloatField(allow_null=True)
    share_changed = serializers.FloatField(allow_null=True)
    rows_changed = serializers.IntegerField(allow_null=True)
    change_norm = serializers.FloatField(allow_null=True)
    old_norm = serializers.FloatField(allow_null=True)
    new_norm = serializers.FloatField(allow_null=True)
    not_finite = serializers.IntegerField()
    spectrum = serializers.DictField(
        help_text="Of the change: effective_rank, rank_90, stable_rank, ranks_at_least, singular_values."
    )
    update = serializers.ChoiceField(UPDATES)  # type: ignore[assignment]  # a field, as DRF wants it
    evidence = serializers.CharField(allow_blank=True)
    exact = serializers.BooleanField()
    parts = serializers.ListField(child=serializers.DictField(), help_text="The stored tensors behind an update.")


class WeightsRow(Shape):
    """The weights of one folder. With a `job` they are being compared; ask again when it has ended."""

    folder = serializers.CharField(help_text="Empty for the top.")
    left = Side()
    right = Side()
    summary = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField())
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Tensors by status.")
    tensors = TensorChangeRow(many=True)
    job = serializers.UUIDField(allow_null=True)


class CompareDetail(Shape):
    left = Side()
    right = Side()
    files = FileChangeRow(many=True)
    weights = WeightsRow(many=True)


def revision_named(actor: Actor, text: str) -> tuple[Repo, Commit]:
    """`naming.revision_named` for a door. Raises NotFound, RevisionNotFound."""
    try:
        return naming.revision_named(actor, text)
    except naming.NotFound as error:
        raise NotFound(str(error)) from error


class CompareDoor(Door):
    @extend_schema(parameters=[*SIDES, UNCHANGED], responses=CompareDetail, summary="Compare two revisions")
    def get(self, request: Request) -> Response:
        """Files at once; weights once a job has compared them (asked for by a known person).

        Two adapters are compared by what they do (scaling·B·A), not by their factors; a base and an adapter by what
        the adapter does to each weight; an adapter and a full checkpoint by the weights the adapter would make.
        """
        left, before = revision_named(self.actor, request.query_params.get("left", ""))
        right, after = revision_named(self.actor, request.query_params.get("right", ""))
        whole = request.query_params.get("unchanged", "") in ("1", "true", "yes")
        found = comparing.every(self.actor, comparing.pairs(self.actor, left, before, right, after))
        answer = {
            "left": _side(left, before), "right": _side(right, after),
            "files": comparing.compare_files(left, before, right, after),
            "weights": [_weights(item, whole) for item in found],
        }  # fmt: skip
        return Response(CompareDetail(answer).data)


def _side(repo: Repo, commit: Commit) -> dict[str, str]:
    return {"repo": repo.full_name, "commit": commit.sha}


def _weights(item: Compared, whole: bool) -> dict[str, Any]:
    kept = item.comparison.changes if item.comparison else []
    counts: dict[str, int] = {}
    for row in kept:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    return {
        "folder": item.pair.right.folder,
        "left": _side(item.pair.left.repo, item.pair.left.commit),
        "right": _side(item.pair.right.repo, item.pair.right.commit),
        "summary": item.comparison.summary if item.comparison else "",
        "warnings": item.comparison.warnings if item.comparison else [],
        "counts": counts,
        "tensors": [comparing.unpacked(row) for row in kept if whole or row["status"] != "unchanged"],
        "job": item.job.pk if item.job and item.comparison is None else None,
    }
