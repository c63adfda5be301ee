"""The only answer to who may know of, read, change or judge a repo. Every door asks here.

Rights are computed from ownership, membership, role and the token in hand; nothing is copied into rows.
What a person may not read looks absent (404) everywhere.
"""

from enum import StrEnum
from uuid import UUID

from django.db.models import Q, QuerySet

from hub.accounts.actor import Actor
from hub.accounts.models import Account, MemberRole, Membership
from hub.repos.models import AccessRequest, Repo, RepoQuerySet, Standing


class Verb(StrEnum):
    """What one can want to do with a repo."""

    READ = "read"
    WRITE = "write"  # commit, branch, tag, merge a change request
    ADMIN = "admin"  # settings, visibility, move, delete
    PROPOSE = "propose"  # open a change request, comment
    REVIEW = "review"  # decide a change request


class Denied(Exception):
    """The actor may see the repo but not do this."""


def visible_repos(repos: RepoQuerySet, actor: Actor) -> RepoQuerySet:
    """The repos of a queryset that this actor may read."""
    account, token = actor.account, actor.token
    if account is None:
        return repos.filter(private=False, gated="").exclude(standing=Standing.QUARANTINED)
    if not account.is_staff:
        mine = Q(owner=account) | Q(owner__in=organisations_of(account))
        repos = repos.filter(Q(private=False) | mine)
        if not account.is_maintainer:
            repos = repos.filter(~Q(standing=Standing.QUARANTINED) | mine)
            repos = repos.filter(Q(gated="") | mine | Q(pk__in=_let_in(account)))
    if token and token.repos:
        named = Q()
        for repo_id in token.repos:
            owner, _, name = repo_id.partition("/")
            named |= Q(owner__name__iexact=owner, name__iexact=name)
        repos = repos.filter(Q(private=False) | named)
    return repos


def known_repos(repos: RepoQuerySet, actor: Actor) -> RepoQuerySet:
    """The repos of a queryset that this actor may know of: those they may read, and those they could ask to read."""
    visible = visible_repos(Repo.objects.all(), actor).values("pk")
    return repos.filter(Q(pk__in=visible) | Q(private=False, standing=Standing.GOOD) & ~Q(gated=""))


def _let_in(account: Account) -> "QuerySet[AccessRequest, UUID]":
    accepted = AccessRequest.objects.filter(account=account, state=AccessRequest.State.ACCEPTED)
    return accepted.values_list("repo_id", flat=True)


def organisations_of(account: Account, *roles: str) -> "QuerySet[Membership, int]":
    """Ids of the organisations a person belongs to (in one of these roles)."""
    memberships = Membership.objects.filter(member=account)
    if roles:
        memberships = memberships.filter(role__in=roles)
    return memberships.values_list("organisation_id", flat=True)


def can(actor: Actor, verb: Verb, repo: Repo) -> bool:
    """May this actor do this with this repo?"""
    if verb == Verb.READ:
        return _may_read(actor, repo)
    if not actor.may_write or not _may_read(actor, repo):
        return False
    if verb == Verb.PROPOSE:
        return True
    if verb == Verb.REVIEW:
        return actor.is_maintainer
    if not actor.reaches(repo.full_name):
        return False
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


def require(actor: Actor, verb: Verb, repo: Repo) -> None:
    """Raise Denied, with a sentence, unless the actor may."""
    if can(actor, verb, repo):
        return
    if not actor.is_known:
        raise Denied("Sign in first.")
    if not actor.may_write:
        raise Denied("This token may only read; make one with the write scope.")
    raise Denied(f"You may not {verb} {repo.full_name}.")


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
    return bool(repo.gated) and not repo.private and not quarantined and _let_in(account).filter(repo=repo.pk).exists()
