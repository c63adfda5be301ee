"""Who am I, who are they, and whose keys are these."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from hub.accounts import organisations, tokens
from hub.accounts.models import Account, Membership, Scope, Token
from hub.rest.bodies import MemberChange, NewOrganisation, NewToken, ProfileChanges
from hub.rest.door import ByPerson, Door, Listing, MayWrite
from hub.rest.shapes import AccountDetail, MeDetail, MemberRow, TokenRow


class Me(MeDetail):
    token = inline_serializer(
        "TokenInHand",
        {"label": serializers.CharField(), "scope": serializers.ChoiceField(Scope.choices),
         "repos": serializers.ListField(child=serializers.CharField())},
        allow_null=True,
    )  # fmt: skip


class MadeToken(TokenRow):
    text = serializers.CharField(help_text="Shown this once.")


class MeDoor(Door):
    @extend_schema(responses=Me, summary="Who am I?")
    def get(self, request: Request) -> Response:
        """The account and the token in hand."""
        account = self.actor.account
        if account is None:
            raise NotAuthenticated("Sign in first, or send a token.")
        account.token = self.actor.token  # type: ignore[attr-defined]
        return Response(Me(account).data)


class AccountDoor(Door):
    @extend_schema(responses=AccountDetail, summary="Show a person or an organisation")
    def get(self, request: Request, account: str) -> Response:
        """What everybody may know."""
        return Response(AccountDetail(organisations.find_account(account)).data)

    @extend_schema(request=ProfileChanges, responses=AccountDetail, summary="Change a profile")
    def patch(self, request: Request, account: str) -> Response:
        """Your own, or that of an organisation you administer."""
        found = organisations.find_account(account)
        changed = organisations.update_profile(actor=self.actor, account=found, **self.read(ProfileChanges))
        return Response(AccountDetail(changed).data)


class OrganisationsDoor(Door):
    @extend_schema(request=NewOrganisation, responses={201: AccountDetail}, summary="Make an organisation")
    def post(self, request: Request) -> Response:
        """You administer it."""
        made = organisations.create_organisation(actor=self.actor, **self.read(NewOrganisation))
        return Response(AccountDetail(made).data, status=201)


class MembersDoor(Listing):
    serializer_class = MemberRow
    queryset = Membership.objects.none()

    def rows(self) -> Any:
        """In order of name."""
        account = organisations.find_account(self.kwargs["account"])
        return account.memberships_of.select_related("member").order_by("member__name")


class MemberDoor(Door):
    permission_classes = [MayWrite, ByPerson]

    @extend_schema(request=MemberChange, responses=MemberRow, summary="Add a member or change their role")
    def put(self, request: Request, account: str, member: str) -> Response:
        """By an administrator of the organisation, in a browser session."""
        found, role = organisations.find_account(account), self.read(MemberChange)["role"]
        row = organisations.set_member(actor=self.actor, organisation=found, name=member, role=role)
        return Response(MemberRow(row).data)

    @extend_schema(responses={204: None}, summary="Remove a member, or leave")
    def delete(self, request: Request, account: str, member: str) -> Response:
        """Their rights end at once."""
        found = organisations.find_account(account)
        organisations.remove_member(actor=self.actor, organisation=found, name=member)
        return Response(status=204)


class TokensDoor(Listing):
    permission_classes = [ByPerson]
    serializer_class = TokenRow
    queryset = Token.objects.none()

    def rows(self) -> Any:
        """Yours that still work."""
        return Token.objects.filter(account=self.account, revoked_at=None)

    @property
    def account(self) -> Account:
        """Who asks; ByPerson has seen that it is somebody."""
        assert self.actor.account is not None
        return self.actor.account

    @extend_schema(request=NewToken, responses={201: MadeToken}, summary="Make a token")
    def post(self, request: Request) -> Response:
        """Its text is shown this once."""
        row, text = tokens.create_token(account=self.account, **self.read(NewToken))
        row.text = text  # type: ignore[attr-defined]
        return Response(MadeToken(row).data, status=201)


class TokenDoor(Door):
    permission_classes = [ByPerson]

    @extend_schema(responses={204: None}, summary="Revoke a token")
    def delete(self, request: Request, token: int) -> Response:
        """At once."""
        tokens.revoke_token(get_object_or_404(Token, pk=token, account=self.actor.account))
        return Response(status=204)
