"""Which organisations a person belongs to: what rights over rows and over single repos are both computed from."""

from __future__ import annotations

from django.db.models import QuerySet

from hub.accounts.models import Account, Membership


def organisations_of(account: Account, *roles: str) -> QuerySet[Membership, int]:
    """Ids of the organisations a person belongs to (in one of these roles)."""
    memberships = Membership.objects.filter(member=account)
    if roles:
        memberships = memberships.filter(role__in=roles)
    return memberships.values_list("organisation_id", flat=True)
