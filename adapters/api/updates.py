"""Commits of an update alone: what was sent for a revision, and sending one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from adapters.catalog import updating
from hub.jobs.models import State
from hub.repos.models import DEFAULT_BRANCH
from hub.rest.bodies import FileToWrite
from hub.rest.committing import put_of
from hub.rest.door import Door
from hub.rest.once import once
from hub.rest.repos import REVISION
from hub.rest.shapes import Shape


class UpdateFile(Shape):
    path = serializers.CharField()
    size = serializers.IntegerField()


class UpdateMade(UpdateFile):
    sha256 = serializers.CharField(source="blob.sha256")


class UpdateDetail(Shape):
    """`kind` is lora, ia3, sparse or tensors; null where the weights of this revision were not made by an update."""

    kind = serializers.CharField(allow_null=True)
    base = serializers.CharField(allow_null=True, help_text="The commit that the update changed.")
    sent = UpdateFile(many=True)
    makes = UpdateMade(many=True)


class NewUpdate(Shape):
    """Either `adapter_config.json` and `adapter_model.safetensors` (LoRA or IA3), or one safetensors file.

    That file holds tensors named as in the base, which replace them, or for single values `<tensor>.indices` (I64,
    ascending positions in the flattened tensor) with `<tensor>.values`, or both forms.
    """

    base = serializers.CharField(max_length=255, help_text="The revision it changes; the branch must not have moved.")
    files = FileToWrite(many=True)
    message = serializers.CharField(max_length=300)
    description = serializers.CharField(max_length=20_000, required=False, allow_blank=True, default="")
    branch = serializers.CharField(max_length=255, required=False, default=DEFAULT_BRANCH)
    change_request = serializers.BooleanField(default=False, help_text="Propose instead of committing.")


class UpdateStarted(Shape):
    job = serializers.UUIDField(source="id", help_text="Its result names the commit, or the change request.")
    state = serializers.ChoiceField(State.choices)
    url = serializers.CharField(source="get_absolute_url")


class UpdatesDoor(Door):
    http_method_names = ["get", "post", "head", "options"]

    @extend_schema(parameters=[REVISION], responses=UpdateDetail, summary="The update a revision was made by")
    def get(self, request: Request, **_address: Any) -> Response:
        """What was sent and what it made. The files it made are downloaded like all others."""
        made = updating.made_by(self.repo, self.commit)
        none: dict[str, Any] = {"kind": None, "base": None, "sent": [], "makes": []}
        return Response(UpdateDetail(made or none).data)

    @extend_schema(request=NewUpdate, responses={202: UpdateStarted}, summary="Commit an update of a checkpoint")
    def post(self, request: Request, **_address: Any) -> Response:
        """Send only what changes. It is judged at once; a job makes the checkpoint and commits it with the update."""
        asked, repo = self.read(NewUpdate), self.repo

        def ask() -> Response:
            wanted = updating.Wanted(
                base=asked["base"], message=asked["message"], branch=asked["branch"],
                puts=[put_of(self.actor, repo, row) for row in asked["files"]], description=asked["description"],
                change_request=asked["change_request"],
            )  # fmt: skip
            return Response(UpdateStarted(updating.ask(self.actor, repo, wanted)).data, status=202)

        return once(request, ask)
