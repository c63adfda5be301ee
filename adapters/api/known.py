"""What is known of one revision: facts, checks, lineage, how to use it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.catalog import lineage
from adapters.catalog.snippets import snippets
from adapters.models import Inspection, Relation
from hub.rest.door import Door, Listing
from hub.rest.repos import REVISION
from hub.rest.review import CheckRow
from hub.rest.shapes import Shape
from hub.review.models import Check

STEP_WORDS = tuple(str(step) for step in range(1, lineage.MOST_STEPS + 1))
STEPS = OpenApiParameter("steps", int, enum=[int(step) for step in STEP_WORDS], description="How far the graph goes.")


class FactsDetail(Shape):
    """Measured from the bytes of one commit by a job. Without a job they are still being measured."""

    commit = serializers.CharField()
    facts = serializers.DictField()
    job = serializers.UUIDField(allow_null=True)
    measured_at = serializers.DateTimeField(allow_null=True)


class RelativeRow(Shape):
    relation = serializers.ChoiceField(Relation.choices)
    repo = serializers.CharField(source="repo.full_name", default=None, help_text="null: one you may not read.")
    url = serializers.CharField(source="repo.get_absolute_url", default=None)
    sha = serializers.CharField()
    weight = serializers.FloatField(allow_null=True)


class NodeRow(Shape):
    """A box of the graph; `step` is negative for what it was made from. No repo and no title: one you may not read."""

    id = serializers.CharField()
    step = serializers.IntegerField()
    kind = serializers.CharField(help_text="base, adapter, task, evaluation or private.")
    repo = serializers.CharField(source="repo.full_name", default=None)
    sha = serializers.CharField()
    title = serializers.CharField()
    note = serializers.CharField()
    url = serializers.CharField()


class EdgeRow(Shape):
    parent = serializers.CharField()  # type: ignore[assignment]  # a field, as DRF wants it
    child = serializers.CharField()
    relation = serializers.CharField()
    weight = serializers.FloatField(allow_null=True)


class LineageDetail(Shape):
    commit = serializers.CharField()
    nodes = NodeRow(many=True)
    edges = EdgeRow(many=True)
    made_from = RelativeRow(many=True)
    used_in = RelativeRow(many=True)


class SnippetRow(Shape):
    title = serializers.CharField()
    language = serializers.CharField()
    code = serializers.CharField()


class FactsDoor(Door):
    @extend_schema(parameters=[REVISION], responses=FactsDetail, summary="Facts of a revision")
    def get(self, request: Request, **_address: Any) -> Response:
        """All that was measured; a task's splits with label counts, lengths and first rows are here too."""
        row = Inspection.objects.filter(repo=self.repo, sha=self.commit.sha).first()
        found = {
            "commit": self.commit.sha, "facts": row.facts if row else {}, "job": row.job_id if row else None,
            "measured_at": row.created_at if row else None,
        }  # fmt: skip
        return Response(FactsDetail(found).data)


class ChecksDoor(Listing):
    serializer_class = CheckRow
    queryset = Check.objects.none()

    @extend_schema(parameters=[REVISION], summary="Checks of a revision")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Automatic verdicts, a sentence each."""
        return self.paged(Check.objects.filter(repo=self.repo, sha=self.commit.sha).order_by("name"), CheckRow)


class LineageDoor(Door):
    @extend_schema(parameters=[REVISION, STEPS], responses=LineageDetail, summary="Lineage, both ways")
    def get(self, request: Request, **_address: Any) -> Response:
        """What this revision was made from, and what was made from the repo; as lists, and as a graph."""
        made_from = lineage.parents(self.actor, self.repo, self.commit.sha)
        used_in = lineage.children(self.actor, self.repo)
        asked = request.query_params.get("steps", "")
        graph = lineage.graph(self.actor, self.repo, self.commit.sha, int(asked) if asked in STEP_WORDS else 2)
        found = {"commit": self.commit.sha, "made_from": made_from, "used_in": used_in,
                 "nodes": graph.nodes.values(), "edges": graph.edges}  # fmt: skip
        return Response(LineageDetail(found).data)


class SnippetsDoor(Door):
    @extend_schema(parameters=[REVISION], responses=SnippetRow(many=True), summary="How to use a revision")
    def get(self, request: Request, **_address: Any) -> Response:
        """Code that is true for what its files hold."""
        row = Inspection.objects.filter(repo=self.repo, sha=self.commit.sha).first()
        return Response(SnippetRow(snippets(self.repo, self.commit, row.facts if row else {}), many=True).data)
