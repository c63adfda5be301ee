"""Change requests: proposed, discussed, merged, decided."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub.accounts.actor import Actor
from hub.repos import commits, trees
from hub.rest.bodies import (
    DECISIONS,
    ChangeRequestChanges,
    NewChangeRequest,
    NewComment,
    NewDecision,
    NewMerge,
    Resolution,
)
from hub.rest.door import Door, Listing
from hub.rest.shapes import Shape
from hub.review import change_requests, conversation, decisions, diffs, merging
from hub.review.models import ChangeRequest, Check, Comment, State, Verdict
from hub.review.resolving import Choice, resolve

COMMENT_KINDS = Comment.Kind.choices


class CheckRow(Shape):
    name = serializers.CharField()
    verdict = serializers.ChoiceField(Verdict.choices)
    summary = serializers.CharField()
    details = serializers.DictField()
    sha = serializers.CharField()
    job = serializers.UUIDField(source="job_id", allow_null=True)
    created_at = serializers.DateTimeField()


class CommentRow(Shape):
    """What was said, or what happened. A hidden comment has no text."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(COMMENT_KINDS)
    author = serializers.CharField(source="author.name", default=None)
    text = serializers.CharField(source="shown")
    data = serializers.DictField()  # type: ignore[assignment]  # DRF takes declared fields off the class
    hidden = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    edited_at = serializers.DateTimeField(allow_null=True)


class DecisionRow(Shape):
    verdict = serializers.ChoiceField(DECISIONS)
    maintainer = serializers.CharField(source="maintainer.name")
    sha = serializers.CharField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()


class ChangeRequestRow(Shape):
    repo = serializers.CharField(source="repo.full_name")
    number = serializers.IntegerField()
    title = serializers.CharField()
    author = serializers.CharField(source="author.name", default=None)
    state = serializers.ChoiceField(State.choices)
    talk = serializers.BooleanField()
    target = serializers.CharField()
    ref = serializers.CharField()
    base = serializers.CharField()
    merged_as = serializers.CharField()
    url = serializers.CharField(source="get_absolute_url")
    created_at = serializers.DateTimeField()
    opened_at = serializers.DateTimeField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)


class ChangeRequestDetail(ChangeRequestRow):
    head = serializers.CharField()
    may_decide = serializers.BooleanField()
    conflicts = serializers.ListField(child=serializers.CharField())
    checks = CheckRow(many=True)
    comments = CommentRow(many=True, source="said")
    decisions = DecisionRow(many=True, source="decided")


class ConflictRow(Shape):
    """Which side has the file, and its text with the places in conflict marked; null where it is no text."""

    path = serializers.CharField()
    ours = serializers.BooleanField()
    theirs = serializers.BooleanField()
    text = serializers.CharField(allow_null=True)


class Conflicts(Shape):
    ours = serializers.CharField(help_text="The target's commit.")
    theirs = serializers.CharField(help_text="The proposed commit.")
    files = ConflictRow(many=True)


def whole(actor: Actor, row: Any) -> dict[str, Any]:
    """Everything about one change request, for this actor."""
    merged = row.state == State.MERGED
    row.head = row.merged_as if merged else trees.resolve_commit(row.repo, row.ref).sha
    row.may_decide = row.state == State.OPEN and decisions.may_decide(actor, row)
    row.conflicts = merging.conflicts(row) if row.state in (State.OPEN, State.DRAFT) else []
    row.checks = Check.objects.filter(repo=row.repo, sha=row.head)
    row.said = list(row.comments.select_related("author"))
    for comment in row.said:
        comment.shown = "" if comment.hidden else comment.text
    row.decided = row.decisions.select_related("maintainer")
    return dict(ChangeRequestDetail(row).data)


class ChangeRequestFilter(filters.FilterSet):
    state = filters.MultipleChoiceFilter(choices=State.choices)
    author = filters.CharFilter(field_name="author__name", lookup_expr="iexact")

    class Meta:
        model = ChangeRequest
        fields: list[str] = []


class ChangeRequestsDoor(Listing):
    serializer_class = ChangeRequestRow
    queryset = ChangeRequest.objects.none()
    filterset_class = ChangeRequestFilter

    def rows(self) -> QuerySet[ChangeRequest]:
        """Those of one repo, the newest first."""
        return self.repo.change_requests.select_related("repo__owner", "author")

    @extend_schema(request=NewChangeRequest, responses={201: ChangeRequestDetail}, summary="Start a change request")
    def post(self, request: Request, **_address: Any) -> Response:
        """Its ref starts at the target's head; commit to `refs/pr/N` next, then set its state to open."""
        asked = self.read(NewChangeRequest)
        commits.begin(actor=self.actor, repo=self.repo)
        row = change_requests.open_change_request(actor=self.actor, repo=self.repo, **asked)
        return Response(whole(self.actor, row), status=201)


class ChangeRequestDoor(Door):
    """One change request, and what its sub-addresses share."""

    @property
    def found(self) -> ChangeRequest:
        """The change request of the address. Raises Http404."""
        rows = self.repo.change_requests.select_related("repo__owner", "author")
        return get_object_or_404(rows, number=self.kwargs["number"])

    @extend_schema(responses=ChangeRequestDetail, summary="Show a change request")
    def get(self, request: Request, **_address: Any) -> Response:
        """With its checks, discussion, decisions, and the files in conflict with its target."""
        return Response(whole(self.actor, self.found))

    @extend_schema(request=ChangeRequestChanges, responses=ChangeRequestDetail, summary="Rename, open or close")
    def patch(self, request: Request, **_address: Any) -> Response:
        """By its author, the repo's writers and maintainers."""
        asked, row = self.read(ChangeRequestChanges), self.found
        if "title" in asked:
            row = change_requests.set_title(actor=self.actor, request=row, title=asked["title"])
        if "state" in asked:
            row = change_requests.set_state(actor=self.actor, request=row, state=asked["state"], text=asked["text"])
        return Response(whole(self.actor, row))


class DiffDoor(ChangeRequestDoor):
    http_method_names = ["get", "head", "options"]

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR}, summary="What it would change, as git prints it")
    def get(self, request: Request, **_address: Any) -> HttpResponse:  # type: ignore[override]
        """Text files line by line; others are named only."""
        row = self.found
        before, after = trees.resolve_commit(row.repo, row.base), trees.resolve_commit(row.repo, row.ref)
        text = diffs.unified(row.repo, before, after)
        return HttpResponse(text, content_type="text/plain; charset=utf-8")


class CommentsDoor(ChangeRequestDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=NewComment, responses={201: CommentRow}, summary="Say something")
    def post(self, request: Request, **_address: Any) -> Response:
        """Whoever may read the repo may take part."""
        row = change_requests.comment(actor=self.actor, request=self.found, text=self.read(NewComment)["text"])
        row.shown = row.text  # type: ignore[attr-defined]
        return Response(CommentRow(row).data, status=201)


class CommentDoor(ChangeRequestDoor):
    http_method_names = ["put", "delete", "options"]

    @property
    def comment(self) -> Comment:
        """The comment of the address. Raises Http404."""
        said = self.found.comments.select_related("change_request__repo__owner", "author")
        return get_object_or_404(said, kind=Comment.Kind.COMMENT, pk=self.kwargs["comment"])

    @extend_schema(request=NewComment, responses=CommentRow, summary="Say it in other words")
    def put(self, request: Request, **_address: Any) -> Response:
        """Only who wrote it."""
        row = conversation.edit(actor=self.actor, comment=self.comment, text=self.read(NewComment)["text"])
        row.shown = row.text  # type: ignore[attr-defined]
        return Response(CommentRow(row).data)

    @extend_schema(responses={204: None}, summary="Hide a comment")
    def delete(self, request: Request, **_address: Any) -> Response:
        """For good; by its author, the repo's writers and maintainers."""
        conversation.hide(actor=self.actor, comment=self.comment)
        return Response(status=204)


class ConflictsDoor(ChangeRequestDoor):
    http_method_names = ["get", "post", "head", "options"]

    @extend_schema(responses=Conflicts, summary="The files that both sides changed")
    def get(self, request: Request, **_address: Any) -> Response:
        """Empty where it would merge. Texts that both changed in different lines are merged and not named here."""
        row = self.found
        ours, theirs = (trees.resolve_commit(row.repo, ref) for ref in (row.target, row.ref))
        files = merging.conflicting(row, ours, theirs)
        return Response(Conflicts({"ours": ours.sha, "theirs": theirs.sha, "files": files}).data)

    @extend_schema(
        request=Resolution, responses=ChangeRequestDetail, summary="Decide the files that both sides changed"
    )
    def post(self, request: Request, **_address: Any) -> Response:
        """By its author, the repo's writers and maintainers; the result is a commit of the change request."""
        asked, row = self.read(Resolution), self.found
        ours, theirs = (trees.resolve_commit(row.repo, asked[side]) for side in ("ours", "theirs"))
        choices = {file["path"]: Choice(file["take"], file["text"]) for file in asked["files"]}
        resolve(actor=self.actor, request=row, ours=ours, theirs=theirs, choices=choices)
        return Response(whole(self.actor, self.found))


class MergeDoor(ChangeRequestDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=NewMerge, responses=ChangeRequestDetail, summary="Merge a change request")
    def post(self, request: Request, **_address: Any) -> Response:
        """By who may write the repo."""
        row = self.found
        change_requests.merge(actor=self.actor, request=row, text=self.read(NewMerge)["text"])
        return Response(whole(self.actor, self.found))


class DecisionsDoor(ChangeRequestDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=NewDecision, responses={201: DecisionRow}, summary="Decide a change request")
    def post(self, request: Request, **_address: Any) -> Response:
        """By a maintainer, about the commit that was seen; approving merges. Nobody decides their own work."""
        row = decisions.decide(actor=self.actor, request=self.found, **self.read(NewDecision))
        return Response(DecisionRow(row).data, status=201)
