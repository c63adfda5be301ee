"""Ask the hub: route inputs to specialists, let them answer, and find what is near to pasted examples."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.answering import line
from adapters.api.relatives import NearRow
from adapters.api.search import QUERY
from adapters.catalog.exporting import export_router
from adapters.search.filters import FACETS, Filters
from adapters.search.relatives import near_examples
from hub.rest.door import Door
from hub.rest.shapes import Shape

MOST_INPUTS, MOST_LETTERS = 64, 20_000


def text_field() -> serializers.CharField:
    """One input."""
    return serializers.CharField(max_length=MOST_LETTERS, trim_whitespace=False)


class RouteBody(Shape):
    """One or many inputs. The hint says what is asked, in words (`hint`) or as the labels wanted (`labels`)."""

    texts = serializers.ListField(child=text_field(), min_length=1, max_length=MOST_INPUTS)
    model = serializers.CharField(
        max_length=300, required=False, allow_blank=True, default="router",
        help_text="`router` (over all you may read) or a System, owner/name or owner/name@revision.",
    )  # fmt: skip
    hint = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")
    labels = serializers.ListField(child=serializers.CharField(max_length=200), max_length=200, default=list)
    top = serializers.IntegerField(min_value=1, max_value=20, default=3)
    base = serializers.CharField(max_length=200, required=False, allow_blank=True, default="", help_text="owner/name")
    router = serializers.CharField(max_length=40, required=False, allow_blank=True, default="")
    parameters = serializers.DictField(child=serializers.FloatField(), default=dict)


class PredictBody(RouteBody):
    """As for routing; `model` may also be one adapter, merge or base."""

    model = serializers.CharField(
        max_length=300, required=False, allow_blank=True, default="router",
        help_text="`router`, a System, or an adapter, merge or base: owner/name or owner/name@revision.",
    )  # fmt: skip
    stream = serializers.BooleanField(default=False, help_text="Answer in parts, as server-sent events.")
    max_tokens = serializers.IntegerField(
        min_value=1, max_value=1024, required=False, default=64, help_text="For specialists that write texts."
    )
    apply = serializers.ChoiceField(
        ["surest", "best", "each", "soft"], required=False, allow_blank=True, default="",
        help_text="The surer of the best two where they are close (usual for the router); the best (usual for a "
        "System); each of the top; or one whose weights are averaged by the router's shares.",
    )  # fmt: skip


class NearestRow(Shape):
    text = serializers.CharField(help_text="Empty where the specialist gave vectors instead of texts.")
    cosine = serializers.FloatField()


class ChoiceRow(Shape):
    repo = serializers.CharField()
    sha = serializers.CharField()
    base = serializers.CharField(allow_null=True)
    score = serializers.FloatField()
    share = serializers.FloatField(help_text="Softmax of the scores over all candidates.")
    fit = serializers.FloatField(allow_null=True, help_text="Standard deviations from the specialist's own examples.")
    labels = serializers.ListField(child=serializers.CharField())
    nearest = NearestRow(many=True)


class RoutedRow(Shape):
    none = serializers.BooleanField(help_text="Even the best specialist does not look made for this input.")
    choices = ChoiceRow(many=True)


class RouteAnswer(Shape):
    router = serializers.CharField()
    candidates = serializers.IntegerField()
    seconds = serializers.FloatField(help_text="For deciding, after encoding.")
    decisions = RoutedRow(many=True)


class Spoken(Shape):
    """What a specialist said: a label with probabilities, or a text; or why it could not."""

    repo = serializers.CharField()
    sha = serializers.CharField(required=False)
    label = serializers.CharField(required=False)  # type: ignore[assignment]  # DRF takes declared fields off the class
    labels = serializers.DictField(child=serializers.FloatField(), required=False)
    text = serializers.CharField(required=False)
    sure = serializers.FloatField(required=False, help_text="Standard deviations above its energy on neutral text.")
    instead_of = serializers.CharField(required=False, help_text="The nearest specialist, where another was surer.")
    blend = serializers.ListField(child=serializers.DictField(), required=False)
    error = serializers.CharField(required=False)


class AnswerRow(Shape):
    none = serializers.BooleanField()
    answer = Spoken(allow_null=True)
    others = Spoken(many=True)
    why = ChoiceRow(many=True)


class PredictAnswer(Shape):
    model = serializers.CharField(help_text="Who was asked.")
    router = serializers.CharField(help_text="Empty where one specialist was named.")
    apply = serializers.CharField()
    candidates = serializers.IntegerField()
    route_seconds = serializers.FloatField()
    run_seconds = serializers.FloatField()
    answers = AnswerRow(many=True)


class NearestBody(Shape):
    """Example inputs, or vectors of them made with this hub's encoder (then name it in `probe`)."""

    texts = serializers.ListField(child=text_field(), max_length=MOST_INPUTS, default=list)
    vectors = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()), max_length=1024, default=list
    )
    probe = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")
    limit = serializers.IntegerField(min_value=1, max_value=50, default=8)
    filters = serializers.DictField(child=serializers.ListField(child=serializers.CharField()), default=dict)


class RouteDoor(Door):
    only_reads = True

    @extend_schema(request=RouteBody, responses=RouteAnswer, summary="Which specialists fit these inputs")
    def post(self, request: Request) -> Response:
        """Ranked choices with scores, a calibrated fit, the nearest examples, and `none` where nothing fits."""
        return Response(line.ask("route", self.actor, self.read(RouteBody)))


class PredictDoor(Door):
    only_reads = True

    @extend_schema(request=PredictBody, responses=PredictAnswer, summary="Route inputs and let the specialists answer")
    def post(self, request: Request) -> Any:
        """What the chosen specialists say, which ones spoke, and why they were chosen.

        With `stream` as server-sent events: first what was chosen for each input and why (`rows`), then `text` as it
        grows and the `answer` of each specialist with the number of its input (`row`), at last `done`.
        """
        body = self.read(PredictBody)
        if not body["stream"]:
            return Response(line.ask("predict", self.actor, body))
        parts = line.stream("predict", self.actor, body, seconds=300.0, line="slow")
        return streamed(parts)


def streamed(parts: Iterator[Any]) -> StreamingHttpResponse:
    """Parts of an answer as server-sent events; the first is awaited, so that a refusal is an ordinary answer."""
    first = next(parts)

    def events() -> Iterator[str]:
        try:
            for part in itertools.chain([first], parts):
                yield f"data: {json.dumps(part)}\n\n"
        except (line.NobodyAnswers, line.CannotAnswer) as error:
            yield f"data: {json.dumps({'error': str(error)})}\n\n"

    return event_stream(events())


def event_stream(events: Iterator[str]) -> StreamingHttpResponse:
    """Server-sent events that no proxy holds back."""
    response = StreamingHttpResponse(events, content_type="text/event-stream")
    response["Cache-Control"], response["X-Accel-Buffering"] = "no-store", "no"
    return response


class NearestDoor(Door):
    only_reads = True

    @extend_schema(request=NearestBody, responses=NearRow(many=True), summary="What is near to these examples")
    def post(self, request: Request) -> Response:
        """Adapters and tasks whose texts are alike, nearest first, with the nearest pairs."""
        body = self.read(NearestBody)
        known = line.about() or {}
        if body["vectors"]:
            vectors, probe = checked_vectors(body, known), str(known.get("encoder", ""))
        elif body["texts"]:
            made = line.ask("encode", self.actor, {"texts": body["texts"]})
            vectors, probe = np.asarray(made["vectors"], np.float32), str(made["probe"])
        else:
            raise serializers.ValidationError({"texts": ["Give example inputs as texts, or vectors of them."]})
        chosen: dict[str, Any] = {name: tuple(rows) for name, rows in body["filters"].items() if name in FACETS}
        found = near_examples(
            self.actor, vectors, probe, int(known.get("version", 1)), Filters(**chosen), most=body["limit"]
        )
        return Response(NearRow(found, many=True).data)


class AboutDoor(Door):
    @extend_schema(responses={200: dict}, summary="Encoder, embedding methods and routers of this hub")
    def get(self, request: Request) -> Response:
        """As the inference worker declares them, with references and parameters."""
        found = line.about()
        if found is None:
            raise line.NobodyAnswers("No inference worker has ever run here. Start the hub with `manage.py up`.")
        return Response(found)


class ExportDoor(Door):
    @extend_schema(parameters=QUERY, responses={(200, "application/octet-stream"): bytes}, summary="Export the router")
    def get(self, request: Request) -> HttpResponse:
        """One safetensors file with the example vectors of the adapters of a search, to route without the hub."""
        data = export_router(self.actor, Filters.from_query(request.query_params))
        response = HttpResponse(data, content_type="application/octet-stream")
        response["Content-Disposition"] = 'attachment; filename="router.safetensors"'
        return response


def checked_vectors(body: dict[str, Any], known: dict[str, Any]) -> Any:
    """Unit vectors of the right encoder. Raises ValidationError with what is wrong."""
    if not known or body["probe"] != known["encoder"]:
        raise serializers.ValidationError(
            {"probe": [f"These vectors are of the encoder '{body['probe'][:16]}', this hub's is "
                       f"'{str(known.get('encoder', 'not known yet'))[:16]}'. Encode the texts with that one."]}
        )  # fmt: skip
    if any(len(row) != known["width"] for row in body["vectors"]):
        raise serializers.ValidationError({"vectors": [f"Every vector needs {known['width']} numbers."]})
    vectors = np.asarray(body["vectors"], np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise serializers.ValidationError({"vectors": ["A vector is zero or not finite. Encode the texts again."]})
    return vectors / lengths
