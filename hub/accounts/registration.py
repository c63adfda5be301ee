"""Making accounts outside the sign-up form: people with a first token, organisations with members."""

from collections.abc import Sequence

from django.core.exceptions import ValidationError

from hub.accounts import names
from hub.accounts.models import Account, Kind, MemberRole, Membership, Role, create_person
from hub.accounts.tokens import create_token


def register_person(
    *,
    name: str,
    email: str = "",
    password: str | None = None,
    role: str = Role.CONTRIBUTOR,
    token: str | None = None,
    default_private: bool = False,
) -> tuple[Account, str]:
    """Make a person and one write token; returns both. Raises ValidationError or IntegrityError."""
    account = create_person(name=name, email=email, password=password, role=role, default_private=default_private)
    _row, text = create_token(account=account, label="create_account", text=token)
    return account, text


def register_organisation(*, name: str, members: Sequence[str] = (), default_private: bool = False) -> Account:
    """Make an organisation; the first member administers it, the others may write.

    Raises ValidationError if a member does not exist, IntegrityError if the name is taken.
    """
    names.check_account_name(name)
    people = [_person(member) for member in members]
    organisation = Account(name=name, kind=Kind.ORGANISATION, default_private=default_private)
    organisation.set_unusable_password()
    organisation.save()
    for position, person in enumerate(people):
        role = MemberRole.ADMIN if position == 0 else MemberRole.WRITE
        Membership.objects.create(organisation=organisation, member=person, role=role)
    return organisation


def _person(name: str) -> Account:
    try:
        return Account.objects.people().named(name)
    except Account.DoesNotExist as error:
        raise ValidationError(f"There is no person named '{name}': create the members first.") from error
