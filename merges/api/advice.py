"""Advice for a new task given by examples."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.api.relatives import NearRow
from hub.rest.door import Door
from hub.rest.shapes import Shape
from merges.work.advising import advise


class LabelledRow(Shape):
    text = serializers.CharField(max_length=20_000)
    label = serializers.CharField(max_length=200)  # type: ignore[assignment]  # DRF takes declared fields off the class


class AdviceBody(Shape):
    """8 to 64 labelled examples of the new task."""

    examples = LabelledRow(many=True, allow_empty=False)
    base = serializers.CharField(max_length=200, required=False, allow_blank=True, default="", help_text="owner/name")
    measure = serializers.BooleanField(default=False, help_text="Also try the best on the examples, in a job.")


class LeadRow(Shape):
    """One adapter: nearness of texts and question, and its score on a near task where it was evaluated."""

    repo = serializers.CharField(source="repo.full_name")
    base = serializers.CharField(source="repo.facts.base", default=None)
    texts = serializers.FloatField()
    question = serializers.FloatField()
    merit = serializers.FloatField()
    task = serializers.CharField(source="task.full_name", default=None)
    score = serializers.FloatField(allow_null=True)
    same_labels = serializers.BooleanField()


class AdviceDetail(Shape):
    verdict = serializers.CharField()
    use = LeadRow(allow_null=True)
    start_from = LeadRow(source="leads", many=True)
    merge = LeadRow(many=True)
    tasks = NearRow(many=True)
    job = serializers.UUIDField(source="job.pk", default=None, help_text="Measures the best; read it at /jobs/{id}.")


class AdviceDoor(Door):
    only_reads = True

    @extend_schema(request=AdviceBody, responses=AdviceDetail, summary="Start from, merge or use as it is")
    def post(self, request: Request) -> Response:
        """The cheap answer at once; with `measure`, a job tries the best candidates on the examples."""
        body = self.read(AdviceBody)
        examples = [dict(row) for row in body["examples"]]
        return Response(AdviceDetail(advise(self.actor, examples, body["base"], measure=body["measure"])).data)
