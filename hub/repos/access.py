"""Gated repos: everybody knows of them; who asks is let in, at once or by those who administer the repo."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.memberships import organisations_of
from hub.accounts.models import Account, MemberRole, Membership
from hub.activity.notices import tell
from hub.activity.record import record
from hub.repos.models import AccessRequest, Gate, Repo
from hub.rights import Denied, Verb

State = AccessRequest.State


class NotGated(Exception):
    """The repo has no gate, so there is nothing to ask for."""


def set_gate(*, actor: Actor, repo: Repo, gated: str) -> None:
    """Close (`manual`), half close (`auto`: who asks is let in) or open (empty) a repo.

    Raises Denied, ValidationError.
    """
    rights.require(actor, Verb.ADMIN, repo)
    if gated and gated not in Gate.values:
        raise ValidationError(f"A gate is one of {', '.join(Gate.values)}, or none.")
    with transaction.atomic():
        Repo.objects.filter(pk=repo.pk).update(gated=gated)
        record(actor.account, "set_gate", repo=repo, gated=gated)
    repo.gated = gated


def ask(*, actor: Actor, repo: Repo, text: str = "") -> AccessRequest:
    """Ask to be let in. Asking again changes nothing. Raises Denied, NotGated."""
    if actor.account is None or not actor.may_write:
        raise Denied("Sign in to ask for access.")
    if not actor.reaches(repo.full_name):
        raise Denied("This token is limited to other repos.")
    if not repo.gated or not Repo.objects.filter(pk=repo.pk).known_to(actor).exists():
        raise NotGated(f"{repo.full_name} is not gated: there is nothing to ask for.")
    state = State.ACCEPTED if repo.gated == Gate.AUTO else State.PENDING
    with transaction.atomic():
        row, made = AccessRequest.objects.get_or_create(
            repo=repo, account=actor.account, defaults={"state": state, "text": text.strip()[:2000]}
        )
        if made:
            record(actor.account, "ask_for_access", repo=repo, state=state)
            words = "asks to read" if state == State.PENDING else "asked to read, and was let into,"
            text = f"{actor.account.name} {words} {repo.full_name}"
            tell(_keepers(repo), "access", text, f"{repo.get_absolute_url()}/access", actor=actor.account, repo=repo)
    return row


def requests_of(actor: Actor, repo: Repo, state: str) -> QuerySet[AccessRequest]:
    """Who asked, in one state. Raises Denied."""
    rights.require(actor, Verb.ADMIN, repo)
    return AccessRequest.objects.filter(repo=repo, state=state).select_related("account")


def every_request(actor: Actor, repo: Repo) -> QuerySet[AccessRequest]:
    """Who asked to read a repo, in any state; the unanswered first. Raises Denied for who does not administer it."""
    if not _administered(actor).filter(pk=repo.pk).exists():
        raise Denied(f"Only who administers {repo.full_name} sees who asks to read it.")
    return AccessRequest.objects.filter(repo=repo).select_related("account").order_by("-state", "created_at")


def waiting_for(actor: Actor) -> QuerySet[AccessRequest]:
    """Every unanswered request to read what the actor administers, the oldest first."""
    rows = AccessRequest.objects.filter(repo__in=_administered(actor), state=State.PENDING)
    return rows.select_related("account", "repo__owner").order_by("created_at")


def _administered(actor: Actor) -> QuerySet[Repo]:
    """The repos that are a person's own, or of an organisation they administer."""
    if actor.account is None:
        return Repo.objects.none()
    owners = organisations_of(actor.account, MemberRole.ADMIN)
    return Repo.objects.visible_to(actor).filter(Q(owner=actor.account) | Q(owner__in=owners))


def _keepers(repo: Repo) -> list[Account]:
    """Who administers a repo: its owner, or the administrators of the organisation that owns it."""
    if not repo.owner.is_organisation:
        return [repo.owner]
    admins = Membership.objects.filter(organisation=repo.owner, role=MemberRole.ADMIN, member__is_active=True)
    return [row.member for row in admins.select_related("member")]


def answer(*, actor: Actor, row: AccessRequest, state: str, reason: str = "") -> AccessRequest:
    """Let in, keep out, or put back to pending; who is kept out can no longer read at once. Raises Denied."""
    rights.require(actor, Verb.ADMIN, row.repo)
    if state not in State.values:
        raise ValidationError(f"A request becomes one of {', '.join(State.values)}.")
    with transaction.atomic():
        row.state, row.reason = state, reason.strip()[:300]
        row.save(update_fields=["state", "reason"])
        record(actor.account, f"access_{state}", repo=row.repo, account=row.account.name)
        if state != State.PENDING:
            words = "You may now read" if state == State.ACCEPTED else "You were not let into"
            text, url = f"{words} {row.repo.full_name}", row.repo.get_absolute_url()
            tell([row.account], "access", text, url, actor=actor.account)  # of no repo: who may not read it is told too
    return row


def grant(*, actor: Actor, repo: Repo, account: Account) -> AccessRequest:
    """Let a person in who did not ask. Raises Denied."""
    rights.require(actor, Verb.ADMIN, repo)
    row, _made = AccessRequest.objects.get_or_create(repo=repo, account=account)
    return answer(actor=actor, row=row, state=State.ACCEPTED)
