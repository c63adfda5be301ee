"""Chat completions as OpenAI's clients speak them: a model is an adapter, a merge, a base, a System, or `router`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.answering import line
from adapters.answering.named import ROUTER
from adapters.api.asking import event_stream
from hub.accounts.actor import Actor
from hub.accounts.authentication import SessionActorAuthentication, TokenAuthentication
from hub.accounts.middleware import token_text
from hub.accounts.models import Account, Token
from hub.pages.errors import api_exception_handler
from hub.repos.models import Repo, RepoQuerySet
from hub.rest.door import Door
from hub.rest.shapes import Shape

SHOWN = 1000
NO_KEY = ("none", "empty", "anonymous")
THE_ROUTER = {"id": ROUTER, "object": "model", "created": 0, "owned_by": "hub", "kind": "router"}


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})
class Content(serializers.Field):
    """A message's text: a string, or OpenAI's list of parts of which the texts are joined."""

    def to_internal_value(self, data: Any) -> str:
        """The text. Raises ValidationError for images and other parts."""
        if isinstance(data, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in data):
            data = "\n".join(str(part.get("text", "")) for part in data)
        if not isinstance(data, str) or len(data) > 100_000:
            raise serializers.ValidationError("Only texts of at most 100,000 letters can be read here.")
        return data

    def to_representation(self, value: Any) -> Any:
        """As it is."""
        return value


class Message(Shape):
    role = serializers.ChoiceField(["system", "developer", "user", "assistant", "tool"])
    content = Content()


class ChatBody(Shape):
    model = serializers.CharField(max_length=300, default=ROUTER)
    messages = Message(many=True, allow_empty=False)
    stream = serializers.BooleanField(default=False)
    stream_options = serializers.DictField(required=False, allow_null=True)
    max_tokens = serializers.IntegerField(min_value=1, max_value=4096, required=False, allow_null=True)
    max_completion_tokens = serializers.IntegerField(min_value=1, max_value=4096, required=False, allow_null=True)
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False, allow_null=True)
    top_p = serializers.FloatField(min_value=0, max_value=1, required=False, allow_null=True)
    seed = serializers.IntegerField(required=False, allow_null=True, min_value=-(2**62), max_value=2**62)
    hint = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    labels = serializers.ListField(child=serializers.CharField(max_length=200), max_length=200, required=False)


class KeyOrNone(TokenAuthentication):
    """A token, or one of the words that people without an account write where OpenAI's clients insist on a key."""

    def authenticate(self, request: Request) -> tuple[Account, Token] | None:
        """Nobody for such a word. Raises AuthenticationFailed for a dead token."""
        return None if (token_text(request._request) or "").lower() in NO_KEY else super().authenticate(request)


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = KeyOrNone
    name = "openai_key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """As the schema says it."""
        return {"type": "http", "scheme": "bearer", "description": "A token, or `none` for what is public."}


class OpenAIDoor(Door):
    """A door whose errors have OpenAI's shape."""

    only_reads = True
    authentication_classes = (KeyOrNone, SessionActorAuthentication)

    def handle_exception(self, exc: Exception) -> Response:
        """{"error": {"message", "type", "code"}}."""
        response = api_exception_handler(exc, self.get_exception_handler_context())
        if response is None:
            raise exc
        told = response.data
        message = str(told.get("error", ""))
        for field, sentences in (told.get("fields") or {}).items():
            message += f" {field}: {sentences}"
        kind = "server_error" if response.status_code >= 500 else "invalid_request_error"
        response.data = {"error": {"message": message, "type": kind, "param": None, "code": told.get("code")}}
        response.exception = True
        return response


class ModelsDoor(OpenAIDoor):
    @extend_schema(responses={200: dict}, summary="Models that can be asked", operation_id="openai_models")
    def get(self, request: Request) -> Response:
        """`router`, then the Systems, adapters, merges and bases you may read, newest first."""
        rows = [THE_ROUTER, *(model_row(repo) for repo in askable(self.actor).order_by("-updated_at")[:SHOWN])]
        return Response({"object": "list", "data": rows})


class ModelDoor(OpenAIDoor):
    @extend_schema(responses={200: dict}, summary="One model that can be asked", operation_id="openai_model")
    def get(self, request: Request, model: str) -> Response:
        """`router`, or owner/name with or without @revision; the slash may be quoted, as OpenAI's clients do."""
        model = model.replace("\x1f", "/")
        if model == ROUTER:
            return Response(THE_ROUTER)
        plain = model.partition("@")[0]
        repo = askable(self.actor).with_id(plain if plain.count("/") == 1 else "/").first()
        if repo is None or "\0" in model:
            raise NotFound(f"There is no model '{model[:200]}' that you may read. GET /v1/models lists them.")
        return Response(model_row(repo) | {"id": model})


def askable(actor: Actor) -> RepoQuerySet:
    """The repos that can be asked: all but tasks."""
    return Repo.objects.models().visible_to(actor).exclude(head="").select_related("owner")


def model_row(repo: Repo) -> dict[str, Any]:
    """A repo as OpenAI lists a model; `kind` says what it is here."""
    return {"id": repo.full_name, "object": "model", "created": int(repo.created_at.timestamp()),
            "owned_by": repo.owner.name, "kind": repo.kind}  # fmt: skip


class ChatDoor(OpenAIDoor):
    @extend_schema(request=ChatBody, responses={200: dict}, summary="Chat completion", operation_id="openai_chat")
    def post(self, request: Request) -> Any:
        """One answer, whole or as server-sent events; `tessera` in it says which specialist spoke and why."""
        body = self.read(ChatBody)
        body["max_tokens"] = body.pop("max_completion_tokens", None) or body.get("max_tokens")
        parts = line.stream("chat", self.actor, body, seconds=300.0, line="slow")
        first = next(parts)  # what cannot be answered is refused before anything is sent
        name, now = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        if body["stream"]:
            counting = bool((body.get("stream_options") or {}).get("include_usage"))
            return event_stream(events(first, parts, name, now, usage=counting))
        text, labels, end, usage = "", None, "stop", [0, 0]
        for part in parts:
            text += part.get("text", "")
            labels = part.get("labels", labels)
            end, usage = part.get("end", end), part.get("usage", usage)
        return Response({
            "id": name, "object": "chat.completion", "created": now, "model": first["model"],
            "choices": [{"index": 0, "finish_reason": end, "logprobs": None,
                         "message": {"role": "assistant", "content": text, "refusal": None}}],
            "usage": counted(usage),
            "tessera": {"why": first.get("why"), "sha": first.get("sha"), "none": first.get("none", False),
                        "labels": labels},
        })  # fmt: skip


def counted(usage: list[int] | None) -> dict[str, int]:
    """Tokens read and made, as OpenAI names them."""
    read, made = usage or (0, 0)
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


def events(first: dict[str, Any], parts: Iterator[Any], name: str, now: int, *, usage: bool = False) -> Iterator[str]:
    """Server-sent events of one answer, ending with [DONE]; a failure on the way is an event with `error`.

    With `usage` the last chunk has no choices and says how many tokens were read and made, as OpenAI's does.
    """
    chunk = {"id": name, "object": "chat.completion.chunk", "created": now, "model": first["model"]}

    def event(delta: dict[str, Any], end: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}
        return f"data: {json.dumps({**chunk, 'choices': [choice], **more})}\n\n"

    yield event({"role": "assistant", "content": ""}, tessera={"why": first.get("why"), "sha": first.get("sha")})
    try:
        for part in parts:
            if "end" in part:
                yield event({}, part["end"])
                if usage:
                    yield f"data: {json.dumps({**chunk, 'choices': [], 'usage': counted(part.get('usage'))})}\n\n"
            else:
                yield event({"content": part["text"]})
    except (line.NobodyAnswers, line.CannotAnswer) as error:
        yield f"data: {json.dumps({'error': {'message': str(error), 'type': 'server_error'}})}\n\n"
    yield "data: [DONE]\n\n"
