"""Systems: made, listed, shown, proposed to, released and rolled back."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from hub.accounts.models import Account
from hub.repos.models import Commit, Kind, Repo
from hub.rest.door import Door, Listing
from hub.rest.review import ChangeRequestRow
from hub.rest.shapes import Shape
from merges.models import Release, ReleaseState
from merges.systems import releases
from merges.work.subjects import BadRequest

RELEASE_STATES = ReleaseState.choices


class ReleaseRow(Shape):
    number = serializers.IntegerField()
    sha = serializers.CharField()
    state = serializers.ChoiceField(RELEASE_STATES)
    score = serializers.FloatField(allow_null=True)
    standard_error = serializers.FloatField(allow_null=True)
    changelog = serializers.CharField()
    held_because = serializers.CharField()
    rolls_back_to = serializers.IntegerField(source="rolls_back_to.number", default=None)
    scores = serializers.DictField()
    job = serializers.UUIDField(source="job_id", allow_null=True)
    created_at = serializers.DateTimeField()
    released_at = serializers.DateTimeField(allow_null=True)


class SystemRow(Shape):
    name = serializers.CharField(source="full_name")
    description = serializers.CharField()
    private = serializers.BooleanField()
    head = serializers.CharField()
    updated_at = serializers.DateTimeField()


class SystemDetail(SystemRow):
    manifest = serializers.DictField()
    current = ReleaseRow(allow_null=True)


class NewSystem(Shape):
    name = serializers.CharField(max_length=96)
    owner = serializers.CharField(max_length=96, required=False, default="", help_text="You, unless said otherwise.")
    base = serializers.CharField(max_length=200)
    router = serializers.CharField(max_length=40, required=False, default="best_five")
    description = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")
    private = serializers.BooleanField(required=False, allow_null=True, default=None)


class SystemsDoor(Listing):
    serializer_class = SystemRow
    queryset = Repo.objects.none()
    filter_backends: list[Any] = []

    def rows(self) -> Any:
        """Systems you may read, the newest change first."""
        return Repo.objects.visible_to(self.actor).filter(kind=Kind.SYSTEM).select_related("owner")

    @extend_schema(request=NewSystem, responses={201: SystemRow}, summary="Make a System")
    def post(self, request: Request) -> Response:
        """A base and a router, no members yet."""
        asked = self.read(NewSystem)
        name = asked.pop("owner")
        owner = Account.objects.filter(name__iexact=name).first() if name else self.actor.account
        if owner is None:
            raise BadRequest(f"There is nobody called '{name[:96]}'.")
        return Response(SystemRow(releases.create_system(actor=self.actor, owner=owner, **asked)).data, status=201)


class SystemDoor(Door):
    @property
    def system(self) -> Repo:
        """The System of the address. Raises NotFound."""
        named = Repo.objects.with_id(f"{self.kwargs['owner']}/{self.kwargs['name']}").filter(kind=Kind.SYSTEM)
        found = named.visible_to(self.actor).select_related("owner").first()
        if found is None:
            raise NotFound("There is no such System, or you may not see it.")
        return found

    @extend_schema(responses=SystemDetail, summary="Show a System")
    def get(self, request: Request, **_address: Any) -> Response:
        """Its manifest now, and the release in use."""
        system: Any = self.system
        at = Commit.objects.filter(repo=system, sha=system.head).first()
        system.manifest = releases.manifest_at(system, at).to_dict()
        system.current = releases.current(system)
        return Response(SystemDetail(system).data)


class GeneralistShape(Shape):
    recipe = serializers.DictField(allow_null=True, help_text="As for a merge, without inputs; null takes it away.")
    target = serializers.CharField(max_length=200, required=False, allow_blank=True, default="",
                                   help_text="owner/name, of the System's owner.")  # fmt: skip


class Proposal(Shape):
    adapter = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    generalist = GeneralistShape(required=False, allow_null=True, default=None, help_text="Instead of an adapter.")
    revision = serializers.CharField(max_length=255, required=False, allow_null=True, default=None)
    task = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    text = serializers.CharField(max_length=20_000, required=False, allow_blank=True, default="")
    remove = serializers.BooleanField(default=False)


class ProposalsDoor(SystemDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=Proposal, responses={201: ChangeRequestRow}, summary="Propose to a System")
    def post(self, request: Request, **_address: Any) -> Response:
        """Opens a change request that adds, updates or removes a specialist, or attaches a generalist."""
        system, asked = self.system, self.read(Proposal)
        attached = asked.pop("generalist")
        if attached is not None:
            made = releases.propose_generalist(actor=self.actor, system=system, text=asked["text"], **attached)
        elif asked.pop("remove"):
            made = releases.propose_removal(
                actor=self.actor, system=system, adapter=asked["adapter"], text=asked["text"]
            )
        else:
            asked.pop("remove", None)
            made = releases.propose_member(actor=self.actor, system=system, **asked)
        return Response(ChangeRequestRow(made).data, status=201)


class ReleasesDoor(Listing):
    serializer_class = ReleaseRow
    queryset = Release.objects.none()
    filter_backends: list[Any] = []

    def rows(self) -> Any:
        """Of one System, the newest first."""
        named = Repo.objects.with_id(f"{self.kwargs['owner']}/{self.kwargs['name']}").filter(kind=Kind.SYSTEM)
        system = get_object_or_404(named.visible_to(self.actor))
        return system.releases.select_related("rolls_back_to")


class ReleaseDoor(SystemDoor):
    @property
    def release(self) -> Release:
        """The release of the address. Raises Http404."""
        rows = self.system.releases.select_related("system__owner", "rolls_back_to", "created_by")
        return get_object_or_404(rows, number=self.kwargs["number"])

    @extend_schema(responses=ReleaseRow, summary="Show a release")
    def get(self, request: Request, **_address: Any) -> Response:
        """Changelog, scores, and why it is held if it is."""
        return Response(ReleaseRow(self.release).data)


class RollBackDoor(ReleaseDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=None, responses={201: ReleaseRow}, summary="Roll back to a release")
    def post(self, request: Request, **_address: Any) -> Response:
        """Its manifest is committed anew and released at once."""
        return Response(ReleaseRow(releases.roll_back(actor=self.actor, release=self.release)).data, status=201)


class WhyShape(Shape):
    reason = serializers.CharField(max_length=2000)


class ReleaseAnywayDoor(ReleaseDoor):
    http_method_names = ["post", "options"]

    @extend_schema(request=WhyShape, responses=ReleaseRow, summary="Release what was held")
    def post(self, request: Request, **_address: Any) -> Response:
        """With a reason, which stands in the changelog."""
        release, reason = self.release, self.read(WhyShape)["reason"]
        return Response(ReleaseRow(releases.release_anyway(actor=self.actor, release=release, reason=reason)).data)
