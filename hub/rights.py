"""The only answer to who may read, change or judge a repo in hand. Every door asks here.

Which repos one finds is asked of the rows (`visible_to`, `known_to`), by the same rules as `Verb.READ` here.
Rights are computed from ownership, membership, role and the token in hand; nothing is copied into rows.
What a person may not read looks absent (404) everywhere.
"""

from enum import StrEnum

from hub.accounts.actor import Actor
from hub.accounts.memberships import organisations_of
from hub.accounts.models import Account, MemberRole
from hub.repos.models import AccessRequest, Repo, Standing


class Verb(StrEnum):
    """What one can want to do with a repo."""

    READ = "read"
    WRITE = "write"  # commit, branch, tag, merge a change request
    ADMIN = "admin"  # settings, visibility, move, delete
    PROPOSE = "propose"  # open a change request, comment
    REVIEW = "review"  # decide a change request


class Denied(Exception):
    """The actor may see the repo but not do this."""


def can(actor: Actor, verb: Verb, repo: Repo) -> bool:
    """May this actor do this with this repo?"""
    if verb == Verb.READ:
        return _may_read(actor, repo)
    if not actor.may_write or not _may_read(actor, repo) or not actor.reaches(repo.full_name):
        return False
    if verb == Verb.PROPOSE:
        return True
    if verb == Verb.REVIEW:
        return actor.is_maintainer
    return can_act_for(actor, repo.owner, admin=verb == Verb.ADMIN)


def can_act_for(actor: Actor, owner: Account, *, admin: bool = False) -> bool:
    """May this actor create (or with `admin` administer) repos of that account?"""
    account = actor.account
    if account is None or not actor.may_write:
        return False
    if account.pk == owner.pk or account.is_staff:
        return True
    roles = (MemberRole.ADMIN,) if admin else (MemberRole.WRITE, MemberRole.ADMIN)
    return owner.is_organisation and organisations_of(account, *roles).filter(organisation=owner).exists()


def owners_for(actor: Actor) -> list[Account]:
    """In whose names the actor is offered to make something: their own first, then organisations they write for."""
    if actor.account is None:
        return []
    mine = organisations_of(actor.account, MemberRole.WRITE, MemberRole.ADMIN)
    return [actor.account, *Account.objects.filter(pk__in=mine)]


def require(actor: Actor, verb: Verb, repo: Repo) -> None:
    """Raise Denied, with a sentence, unless the actor may."""
    if can(actor, verb, repo):
        return
    if not actor.is_known:
        raise Denied("Sign in first.")
    if not actor.may_write:
        raise Denied("This token may only read; make one with the write scope.")
    if not actor.reaches(repo.full_name):
        raise Denied("This token is limited to other repos.")
    raise Denied(f"You may not {'administer' if verb == Verb.ADMIN else verb} {repo.full_name}.")


def all_readers_know(repo: Repo, other: Repo) -> bool:
    """May everybody who reads `repo` know of `other`? Then it may be named in what `repo` holds.

    So of what is public, and of what has the same owner while `repo` itself is private.
    """
    if not other.private and other.standing == Standing.GOOD:
        return True
    return repo.private and repo.owner_id == other.owner_id


def is_own_work(account: Account, repo: Repo, author: Account | None) -> bool:
    """Did this person make the change, or does it belong to them or to an organisation of theirs?"""
    if author is not None and author.pk == account.pk:
        return True
    return repo.owner_id == account.pk or organisations_of(account).filter(organisation=repo.owner_id).exists()


def _may_read(actor: Actor, repo: Repo) -> bool:
    account, quarantined = actor.account, repo.standing == Standing.QUARANTINED
    if not repo.private and not quarantined and not repo.gated:
        return True
    if account is None or (repo.private and not actor.reaches(repo.full_name)):
        return False
    if repo.owner_id == account.pk or account.is_staff or (account.is_maintainer and not repo.private):
        return True
    if organisations_of(account).filter(organisation=repo.owner_id).exists():
        return True
    if not repo.gated or repo.private or quarantined:
        return False
    return AccessRequest.objects.letting_in(account).filter(repo=repo).exists()
