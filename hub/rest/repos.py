"""Repos: made, described, moved, liked, removed; their refs."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.organisations import find_account
from hub.repos import lifecycle
from hub.repos.models import Like, Ref, Repo
from hub.rest.bodies import NewAddress, NewRef, NewRepo, RepoChanges
from hub.rest.door import Door, Listing
from hub.rest.shapes import RefRow, RepoDetail
from hub.rights import Denied

CONFIRM = OpenApiParameter("confirm", str, required=True, description="The repo's owner/name, typed out.")


def seen(actor: Actor, repo: Repo) -> dict[str, Any]:
    """A repo with what this actor may do and has done."""
    repo.likes_it = actor.account is not None and Like.objects.filter(repo=repo, account=actor.account).exists()  # type: ignore[attr-defined]
    repo.may = [verb.value for verb in rights.Verb if rights.can(actor, verb, repo)]  # type: ignore[attr-defined]
    return dict(RepoDetail(repo).data)


class NewRepoDoor(Door):
    """The part of `/repos` that makes one."""

    @extend_schema(request=NewRepo, responses={201: RepoDetail}, summary="Make a repo")
    def post(self, request: Request) -> Response:
        """Make an empty repo of yours or of an organisation you may write for."""
        asked = self.read(NewRepo)
        owner = find_account(asked["owner"]) if asked.get("owner") else self.actor.account
        if owner is None:
            raise Denied("Sign in first.")
        repo = lifecycle.create_repo(
            actor=self.actor, owner=owner, name=asked["name"], kind=asked["kind"], private=asked["private"]
        )
        if asked["description"]:
            lifecycle.describe(actor=self.actor, repo=repo, description=asked["description"])
        return Response(seen(self.actor, repo), status=201)


class RepoDoor(Door):
    """One repo."""

    @extend_schema(responses=RepoDetail, summary="Show a repo")
    def get(self, request: Request, **_address: Any) -> Response:
        """Headline facts, card, tags, and what you may do."""
        return Response(seen(self.actor, self.repo))

    @extend_schema(request=RepoChanges, responses=RepoDetail, summary="Change a repo's settings")
    def patch(self, request: Request, **_address: Any) -> Response:
        """Visibility and description."""
        asked, repo = self.read(RepoChanges), self.repo
        if "private" in asked:
            lifecycle.set_private(actor=self.actor, repo=repo, private=asked["private"])
        if "description" in asked:
            lifecycle.describe(actor=self.actor, repo=repo, description=asked["description"])
        return Response(seen(self.actor, repo))

    @extend_schema(parameters=[CONFIRM], responses={204: None}, summary="Remove a repo")
    def delete(self, request: Request, **_address: Any) -> Response:
        """With its history and everything about it, for good."""
        repo = self.repo
        rights.require(self.actor, rights.Verb.ADMIN, repo)
        if request.query_params.get("confirm", "").lower() != repo.full_name.lower():
            raise ValidationError({"confirm": [f"Type {repo.full_name} to remove it for good."]})
        lifecycle.delete_repo(actor=self.actor, repo=repo)
        return Response(status=204)


class MoveDoor(Door):
    @extend_schema(request=NewAddress, responses=RepoDetail, summary="Rename a repo or give it away")
    def post(self, request: Request, **_address: Any) -> Response:
        """Needs administering the repo, and creating for the new owner."""
        asked, repo = self.read(NewAddress), self.repo
        rights.require(self.actor, rights.Verb.ADMIN, repo)
        lifecycle.move_repo(actor=self.actor, repo=repo, owner=find_account(asked["owner"]), name=asked["name"])
        return Response(seen(self.actor, repo))


class LikeDoor(Door):
    @extend_schema(request=None, responses={204: None}, summary="Like a repo")
    def put(self, request: Request, **_address: Any) -> Response:
        """Liking twice changes nothing."""
        lifecycle.set_like(actor=self.actor, repo=self.repo, liked=True)
        return Response(status=204)

    @extend_schema(responses={204: None}, summary="Take a like back")
    def delete(self, request: Request, **_address: Any) -> Response:
        """Twice changes nothing."""
        lifecycle.set_like(actor=self.actor, repo=self.repo, liked=False)
        return Response(status=204)


class RefsDoor(Listing):
    serializer_class = RefRow
    queryset = Ref.objects.none()

    @extend_schema(summary="List branches, tags and change requests' refs")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """In order of name."""
        return self.paged(self.repo.refs.order_by("name"), RefRow)

    @extend_schema(request=NewRef, responses={201: RefRow}, summary="Make a branch or tag")
    def post(self, request: Request, **_address: Any) -> Response:
        """At a revision; the main branch's head without one."""
        asked = self.read(NewRef)
        if asked["type"] == "branch":
            ref = lifecycle.create_branch(actor=self.actor, repo=self.repo, name=asked["name"], start=asked["revision"])
        else:
            ref = lifecycle.create_tag(actor=self.actor, repo=self.repo, name=asked["name"], revision=asked["revision"])
        return Response(RefRow(ref).data, status=201)


class BranchDoor(Door):
    @extend_schema(responses={204: None}, summary="Remove a branch")
    def delete(self, request: Request, ref: str, **_address: Any) -> Response:
        """Never the main one."""
        lifecycle.delete_branch(actor=self.actor, repo=self.repo, name=ref)
        return Response(status=204)


class TagDoor(Door):
    @extend_schema(responses={204: None}, summary="Remove a tag")
    def delete(self, request: Request, ref: str, **_address: Any) -> Response:
        """The commit it named stays."""
        lifecycle.delete_tag(actor=self.actor, repo=self.repo, name=ref)
        return Response(status=204)


REVISION = OpenApiParameter(
    "revision", OpenApiTypes.STR, description="Branch, tag, sha or refs/pr/N; the main branch if left out."
)
