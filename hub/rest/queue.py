"""The maintainers' queue over REST: what waits and why, notes, hand-over, rules, standing; notices and reactions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from hub.activity import notices
from hub.activity.models import Notice, NoticeKind
from hub.repos import standing
from hub.repos.models import Kind, Standing
from hub.rest.door import Door, Listing
from hub.rest.review import ChangeRequestDoor, ChangeRequestRow, CommentDoor
from hub.rest.shapes import Shape
from hub.review import conversation, decisions, queue, replies, rules
from hub.review.models import AutoRule, ChangeRequest, Reaction, Reason, Sample

RISKS = ("low", "medium", "high")
SIGNS = Reaction.Sign.choices


class ReasonRow(Shape):
    reason = serializers.ChoiceField(Reason.choices)
    note = serializers.CharField()
    since = serializers.DateTimeField()


class QueueRow(ChangeRequestRow):
    """An open change request: its newest commit, how its checks went, why it waits, until when, and who looks."""

    head = serializers.CharField()
    passed = serializers.IntegerField(allow_null=True)
    warned = serializers.IntegerField(allow_null=True)
    failed = serializers.IntegerField(allow_null=True)
    due_at = serializers.DateTimeField(allow_null=True)
    reply_by = serializers.DateTimeField(allow_null=True)
    risk = serializers.IntegerField(help_text="0 low, 1 medium, 2 high")
    two_people = serializers.BooleanField()
    assigned = serializers.CharField(source="assigned.name", default=None)
    reasons = ReasonRow(many=True, source="why")
    lookers = serializers.ListField(child=serializers.CharField())


class QueueDoor(Listing):
    serializer_class = QueueRow
    queryset = ChangeRequest.objects.none()
    filter_backends: list[Any] = []

    @extend_schema(
        parameters=[
            OpenApiParameter("reason", str, enum=Reason.values), OpenApiParameter("risk", str, enum=RISKS),
            OpenApiParameter("kind", str, enum=Kind.values), OpenApiParameter("mine", bool),
            OpenApiParameter("overdue", bool), OpenApiParameter("waiting", bool, description="An answer is awaited."),
        ],
        summary="List what waits for review",
    )  # fmt: skip
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Open change requests that you may read, the oldest due first."""
        asked = request.query_params
        wanted = queue.read_filters(asked)
        page = self.paginate_queryset(queue.queue(self.actor, wanted))
        rows = queue.adorn(list(page or []))
        for row in rows:
            row.lookers = [person.name for person in row.lookers]  # type: ignore[attr-defined]
        return self.get_paginated_response(QueueRow(rows, many=True).data)


class StatisticsShape(Shape):
    """Times in seconds."""

    open = serializers.IntegerField()
    overdue = serializers.IntegerField()
    oldest = serializers.FloatField(allow_null=True)
    decided = serializers.IntegerField()
    median_wait = serializers.FloatField(allow_null=True)
    days = serializers.IntegerField()


class StatisticsDoor(Door):
    @extend_schema(responses=StatisticsShape, summary="How the queue does")
    def get(self, request: Request) -> Response:
        """Counted over what you may read."""
        return Response(asdict(queue.statistics(self.actor)))


class ReplyShape(Shape):
    id = serializers.IntegerField(read_only=True)
    group = serializers.CharField(max_length=40)
    title = serializers.CharField(max_length=80)
    text = serializers.CharField(max_length=5000)
    changed_by = serializers.CharField(source="changed_by.name", default=None, read_only=True)
    changed_at = serializers.DateTimeField(read_only=True)


class RepliesDoor(Door):
    @extend_schema(responses=ReplyShape(many=True), summary="List canned replies")
    def get(self, request: Request) -> Response:
        """By group; a start to edit."""
        return Response(ReplyShape(replies.all_replies(), many=True).data)

    @extend_schema(request=ReplyShape, responses={201: ReplyShape}, summary="Write a canned reply")
    def post(self, request: Request) -> Response:
        """By maintainers."""
        return Response(ReplyShape(replies.save(actor=self.actor, asked=self.read(ReplyShape))).data, status=201)


class ReplyDoor(Door):
    http_method_names = ["put", "delete", "options"]

    @extend_schema(request=ReplyShape, responses=ReplyShape, summary="Change a canned reply")
    def put(self, request: Request, reply: int) -> Response:
        """By maintainers."""
        return Response(ReplyShape(replies.save(actor=self.actor, asked=self.read(ReplyShape), key=reply)).data)

    @extend_schema(responses={204: None}, summary="Delete a canned reply")
    def delete(self, request: Request, reply: int) -> Response:
        """By maintainers; what was said with it stays."""
        replies.delete(actor=self.actor, key=reply)
        return Response(status=204)


class RuleShape(Shape):
    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(max_length=80)
    owner = serializers.CharField(source="owner.name", read_only=True)
    enabled = serializers.BooleanField(read_only=True)
    accepted_before = serializers.IntegerField(min_value=1, max_value=1000, default=3)
    most_files = serializers.IntegerField(min_value=1, max_value=100, default=3)
    only_text = serializers.BooleanField(default=True)
    sample = serializers.FloatField(min_value=0, max_value=1, default=0.2)


class RulesDoor(Listing):
    serializer_class = RuleShape
    queryset = AutoRule.objects.none()
    filter_backends: list[Any] = []

    def rows(self) -> QuerySet[AutoRule]:
        """Every written rule of acceptance."""
        return rules.all_rules()

    @extend_schema(request=RuleShape, responses={201: RuleShape}, summary="Write a rule of acceptance")
    def post(self, request: Request) -> Response:
        """By maintainers; it decides in your name, never about your own work."""
        return Response(RuleShape(rules.make(actor=self.actor, asked=self.read(RuleShape))).data, status=201)


class RuleSwitch(Shape):
    enabled = serializers.BooleanField()


class RuleDoor(Door):
    http_method_names = ["patch", "options"]

    @extend_schema(request=RuleSwitch, responses={204: None}, summary="Switch a rule on or off")
    def patch(self, request: Request, rule: int) -> Response:
        """By maintainers."""
        rules.switch(actor=self.actor, key=str(rule), on=self.read(RuleSwitch)["enabled"])
        return Response(status=204)


class SampleRow(Shape):
    """A decision of a rule that nobody has looked at again."""

    id = serializers.IntegerField()
    rule = serializers.CharField(source="decision.rule.name", default="")
    repo = serializers.CharField(source="decision.change_request.repo.full_name")
    number = serializers.IntegerField(source="decision.change_request.number")
    sha = serializers.CharField(source="decision.sha")
    decided_at = serializers.DateTimeField(source="decision.created_at")


class SamplesDoor(Listing):
    serializer_class = SampleRow
    queryset = Sample.objects.none()
    filter_backends: list[Any] = []

    def rows(self) -> QuerySet[Sample]:
        """Of repos you may read."""
        return rules.waiting_samples(self.actor)


class SampleVerdict(Shape):
    agreed = serializers.BooleanField()


class SampleDoor(Door):
    http_method_names = ["put", "options"]

    @extend_schema(request=SampleVerdict, responses={204: None}, summary="Say whether a rule decided well")
    def put(self, request: Request, sample: int) -> Response:
        """By maintainers, not about what concerns their own work."""
        rules.judge(actor=self.actor, key=str(sample), agreed=self.read(SampleVerdict)["agreed"])
        return Response(status=204)


class NoteRow(Shape):
    author = serializers.CharField(source="author.name", default=None, read_only=True)
    text = serializers.CharField(max_length=5000)
    created_at = serializers.DateTimeField(read_only=True)


class NotesDoor(ChangeRequestDoor):
    http_method_names = ["get", "post", "options"]

    @extend_schema(responses=NoteRow(many=True), summary="List private notes")
    def get(self, request: Request, **_address: Any) -> Response:
        """For maintainers who may decide this; for anybody else there are none."""
        return Response(NoteRow(decisions.notes_of(self.actor, self.found), many=True).data)

    @extend_schema(request=NoteRow, responses={201: NoteRow}, summary="Leave a private note")
    def post(self, request: Request, **_address: Any) -> Response:
        """Only maintainers who may decide this ever see it."""
        note = decisions.add_note(actor=self.actor, request=self.found, text=self.read(NoteRow)["text"])
        return Response(NoteRow(note).data, status=201)


class HandOver(Shape):
    to = serializers.CharField(max_length=96)
    note = serializers.CharField(max_length=5000, required=False, allow_blank=True, default="")


class HandOverDoor(ChangeRequestDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=HandOver, responses=ChangeRequestRow, summary="Hand over to another maintainer")
    def post(self, request: Request, **_address: Any) -> Response:
        """Who is asked gets a notice."""
        decisions.hand_over(actor=self.actor, request=self.found, **self.read(HandOver))
        return Response(ChangeRequestRow(self.found).data)


class Following(Shape):
    on = serializers.BooleanField()


class SubscriptionDoor(ChangeRequestDoor):
    http_method_names = ["get", "put", "options"]

    @extend_schema(responses=Following, summary="Do you follow it?")
    def get(self, request: Request, **_address: Any) -> Response:
        """By choice, or because you take part."""
        return Response({"on": conversation.follows(self.actor.account, self.found)})

    @extend_schema(request=Following, responses=Following, summary="Follow or mute")
    def put(self, request: Request, **_address: Any) -> Response:
        """Notices of comments and changes of state."""
        on = self.read(Following)["on"]
        conversation.subscribe(actor=self.actor, request=self.found, on=on)
        return Response({"on": on})


class ReactionRow(Shape):
    sign = serializers.ChoiceField(SIGNS)
    count = serializers.IntegerField()
    own = serializers.BooleanField()


class ReactionsDoor(CommentDoor):
    http_method_names = ["put", "delete", "options"]

    def _answer(self, sign: str, on: bool) -> Response:
        comment = self.comment
        conversation.react(actor=self.actor, comment=comment, sign=sign, on=on)
        return Response(ReactionRow(conversation.reactions([comment], self.actor).get(comment.pk, []), many=True).data)

    @extend_schema(request=None, responses=ReactionRow(many=True), summary="React to a comment")
    def put(self, request: Request, **address: Any) -> Response:
        """One of the signs; twice is once."""
        return self._answer(address["sign"], True)

    @extend_schema(responses=ReactionRow(many=True), summary="Take a reaction back")
    def delete(self, request: Request, **address: Any) -> Response:
        """Only one's own."""
        return self._answer(address["sign"], False)


class StandingChange(Shape):
    standing = serializers.ChoiceField(Standing.choices)
    reason = serializers.CharField(max_length=1000)


class StandingShape(Shape):
    standing = serializers.ChoiceField(Standing.choices)
    reason = serializers.CharField(source="standing_reason")


class StandingDoor(Door):
    @extend_schema(responses=StandingShape, summary="Show a repo's standing")
    def get(self, request: Request, **_address: Any) -> Response:
        """Good, yanked or quarantined, and why."""
        return Response(StandingShape(self.repo).data)

    @extend_schema(request=StandingChange, responses=StandingShape, summary="Yank, quarantine or restore a repo")
    def put(self, request: Request, **_address: Any) -> Response:
        """Owners yank and restore; maintainers also quarantine. Always with a reason, always reversible."""
        return Response(
            StandingShape(standing.set_standing(actor=self.actor, repo=self.repo, **self.read(StandingChange))).data
        )


class NoticeRow(Shape):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(NoticeKind.choices)
    text = serializers.CharField()
    url = serializers.CharField()
    repo = serializers.CharField(source="repo.full_name", default=None)
    actor = serializers.CharField(source="actor.name", default=None)
    created_at = serializers.DateTimeField()
    read_at = serializers.DateTimeField(allow_null=True)


class ReadNotices(Shape):
    ids = serializers.ListField(child=serializers.IntegerField(), required=False, allow_null=True, default=None,
                                max_length=1000, help_text="Left out: all.")  # fmt: skip


class NoticesDoor(Listing):
    serializer_class = NoticeRow
    queryset = Notice.objects.none()
    filter_backends: list[Any] = []

    def rows(self) -> QuerySet[Notice]:
        """Yours, the newest first. Raises NotAuthenticated."""
        if self.actor.account is None:
            raise NotAuthenticated("Sign in first.")
        return notices.notices_of(self.actor)

    @extend_schema(request=ReadNotices, responses={204: None}, summary="Mark notices as read")
    def post(self, request: Request) -> Response:
        """Some, or all."""
        notices.mark_read(self.actor, self.read(ReadNotices)["ids"])
        return Response(status=204)


class NoticeChoiceRow(Shape):
    kind = serializers.ChoiceField(NoticeKind.choices)
    in_site = serializers.BooleanField()
    by_mail = serializers.BooleanField()


class ChoicesDoor(Door):
    @extend_schema(responses=NoticeChoiceRow(many=True), summary="Show what you are told")
    def get(self, request: Request) -> Response:
        """For each kind of notice."""
        if self.actor.account is None:
            raise NotAuthenticated("Sign in first.")
        return Response(NoticeChoiceRow(notices.choices_of(self.actor.account), many=True).data)

    @extend_schema(request=NoticeChoiceRow, responses=NoticeChoiceRow(many=True), summary="Choose what you are told")
    def put(self, request: Request) -> Response:
        """One kind at a time."""
        assert self.actor.account is not None
        asked = self.read(NoticeChoiceRow)
        notices.choose(self.actor.account, asked.pop("kind"), **asked)
        return Response(NoticeChoiceRow(notices.choices_of(self.actor.account), many=True).data)
