"""Profiles and memberships, changed with rights. An organisation always keeps one administrator."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from hub import rights
from hub.accounts import names
from hub.accounts.actor import Actor
from hub.accounts.models import Account, Kind, MemberRole, Membership
from hub.activity.record import record
from hub.rights import Denied

PROFILE_FIELDS = ("display_name", "bio", "website", "default_private")


class NoSuchAccount(Exception):
    """There is no account of that name."""


class NotAMember(Exception):
    """The membership cannot be changed like this; the message says why."""


def find_account(name: str) -> Account:
    """The account of a name, without regard to case. Raises NoSuchAccount."""
    account = Account.objects.filter(name__iexact=name, is_active=True).first()
    if account is None:
        raise NoSuchAccount(f"There is no account named '{name[:100]}'.")
    return account


def create_organisation(*, actor: Actor, name: str, **profile: Any) -> Account:
    """Make an organisation that the actor administers. Raises Denied, ValidationError (name, taken)."""
    if actor.account is None or not actor.may_write or actor.is_limited:
        raise Denied("Sign in to make an organisation.")
    names.check_account_name(name)
    if Account.objects.filter(name__iexact=name).exists():
        raise ValidationError(f"'{name}' is taken. Please choose another name.")
    organisation = Account(name=name, kind=Kind.ORGANISATION, **_known(profile))
    organisation.set_unusable_password()
    try:
        with transaction.atomic():
            organisation.save()
            Membership.objects.create(organisation=organisation, member=actor.account, role=MemberRole.ADMIN)
            record(actor.account, "create_organisation", organisation=name)
    except IntegrityError as error:
        raise ValidationError(f"'{name}' is taken. Please choose another name.") from error
    return organisation


def update_profile(*, actor: Actor, account: Account, **profile: Any) -> Account:
    """Change one's own profile, or that of an organisation one administers. Raises Denied, ValidationError."""
    _require_admin(actor, account)
    for field, value in _known(profile).items():
        setattr(account, field, value)
    account.clean_fields(exclude=["password", "email", "name"])
    account.save(update_fields=list(_known(profile)) or ["display_name"])
    return account


def set_member(*, actor: Actor, organisation: Account, name: str, role: str) -> Membership:
    """Add a person, or change their role. Raises Denied, NoSuchAccount, NotAMember (the last administrator)."""
    _require_organisation(organisation)
    _require_admin(actor, organisation)
    person = find_account(name)
    if person.is_organisation:
        raise NotAMember("Only people can be members of an organisation.")
    with transaction.atomic():
        _locked(organisation)
        if role != MemberRole.ADMIN:
            _keep_an_administrator(organisation, person)
        row, _made = Membership.objects.update_or_create(
            organisation=organisation, member=person, defaults={"role": role}
        )
        record(actor.account, "set_member", organisation=organisation.name, member=person.name, role=role)
    return row


def remove_member(*, actor: Actor, organisation: Account, name: str) -> None:
    """Take a person out; everybody may leave by themselves. Their rights end at once.

    Raises Denied, NoSuchAccount, NotAMember.
    """
    _require_organisation(organisation)
    person = find_account(name)
    leaves = actor.account is not None and actor.account.pk == person.pk and actor.may_write
    if not leaves:
        _require_admin(actor, organisation)
    with transaction.atomic():
        _locked(organisation)
        _keep_an_administrator(organisation, person)
        if not Membership.objects.filter(organisation=organisation, member=person).delete()[0]:
            raise NotAMember(f"{person.name} is no member of {organisation.name}.")
        record(actor.account, "remove_member", organisation=organisation.name, member=person.name)


def _known(profile: dict[str, Any]) -> dict[str, Any]:
    return {field: profile[field] for field in PROFILE_FIELDS if field in profile}


def _require_admin(actor: Actor, account: Account) -> None:
    if actor.is_limited or not rights.can_act_for(actor, account, admin=True):
        raise Denied(f"You may not administer {account.name}.")


def _require_organisation(account: Account) -> None:
    if not account.is_organisation:
        raise NoSuchAccount(f"There is no organisation named '{account.name}'.")


def _locked(organisation: Account) -> None:
    """One change of membership at a time, so that two cannot remove the last two administrators."""
    Account.objects.select_for_update().get(pk=organisation.pk)


def _keep_an_administrator(organisation: Account, leaving: Account) -> None:
    administrators = Membership.objects.filter(organisation=organisation, role=MemberRole.ADMIN)
    if not administrators.exclude(member=leaving).exists() and administrators.filter(member=leaving).exists():
        raise NotAMember(f"{leaving.name} is the only administrator of {organisation.name}; appoint another first.")
