"""The merge methods as they declare themselves, and the linter of recipes."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from hub.rest.door import Door
from hub.rest.shapes import Shape
from merges.methods import DEFAULT, METHODS, Method
from merges.work.merging import linted
from merges.work.previewing import preview_of
from merges.work.suggesting import partners


class ReferenceRow(Shape):
    authors = serializers.CharField()
    title = serializers.CharField()
    year = serializers.IntegerField()
    url = serializers.CharField()


class ParameterRow(Shape):
    name = serializers.CharField()
    kind = serializers.CharField()
    default = serializers.JSONField()
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(child=serializers.CharField())
    per_input = serializers.BooleanField()
    help = serializers.CharField()


class MethodRow(Shape):
    name = serializers.CharField()
    title = serializers.CharField()
    summary = serializers.CharField()
    reference = ReferenceRow()
    parameters = ParameterRow(many=True)
    space = serializers.CharField()
    exact_on_lora = serializers.BooleanField()
    needs_base = serializers.BooleanField()
    inputs_minimum = serializers.IntegerField()
    inputs_maximum = serializers.IntegerField(allow_null=True)
    needs = serializers.ListField(
        child=serializers.CharField(), help_text="Statistics every input must have published."
    )
    searched = serializers.BooleanField(help_text="Its weights are found on a few examples.")
    routed = serializers.BooleanField(help_text="The result is a run-time artefact with a router.")
    is_default = serializers.SerializerMethodField(help_text="What a recipe of adapters without a method is merged by.")

    def get_is_default(self, method: Method) -> bool:
        """Whether this is the method of a recipe that names none."""
        return method.name == DEFAULT


class RecipeBody(Shape):
    recipe = serializers.JSONField(help_text="An object, or a text of YAML.")


class ProblemRow(Shape):
    field = serializers.CharField()
    severity = serializers.ChoiceField(["error", "warning", "info"])
    message = serializers.CharField()


class LintDetail(Shape):
    ok = serializers.BooleanField()
    yaml = serializers.CharField(allow_null=True, help_text="The recipe with every default written out.")
    problems = ProblemRow(many=True)


class MethodsDoor(Door):
    @extend_schema(responses=MethodRow(many=True), summary="List merge methods")
    def get(self, request: Request) -> Response:
        """With their papers, parameters and ranges."""
        return Response(MethodRow(METHODS.values(), many=True).data)


class PreviewDetail(Shape):
    problems = ProblemRow(many=True)
    waiting = serializers.ListField(child=serializers.CharField(), help_text="Inputs whose sketch is still being made.")
    preview = serializers.DictField(
        allow_null=True, help_text="Cosines, conflict, norms, alignment, warnings, estimated bytes, seconds and memory."
    )


class PartnerRow(Shape):
    name = serializers.CharField()
    kind = serializers.ChoiceField(["behaviour", "texts"])
    score = serializers.FloatField(help_text="Cosine of the updates or of the texts.")
    why = serializers.CharField()


class PartnersDoor(Door):
    @extend_schema(
        parameters=[OpenApiParameter("input", str, many=True, description="owner/name of adapters already chosen.")],
        responses=PartnerRow(many=True),
        summary="Suggest what to merge with adapters",
    )
    def get(self, request: Request) -> Response:
        """Adapters of the same base whose updates or texts are near, never near-copies."""
        return Response(PartnerRow(partners(self.actor, request.query_params.getlist("input")[:16]), many=True).data)


class PreviewDoor(Door):
    only_reads = True

    @extend_schema(request=RecipeBody, responses=PreviewDetail, summary="Preview a merge")
    def post(self, request: Request) -> Response:
        """From stored sketches, without computing the merge; nothing is kept."""
        return Response(PreviewDetail(preview_of(self.actor, self.read(RecipeBody)["recipe"])).data)


class LintDoor(Door):
    only_reads = True

    @extend_schema(request=RecipeBody, responses=LintDetail, summary="Check a recipe")
    def post(self, request: Request) -> Response:
        """Everything that speaks against it, before any work; nothing is kept."""
        return Response(LintDetail(linted(self.actor, self.read(RecipeBody)["recipe"])).data)
