"""Gated repos: everybody knows of them; who asks is let in, at once or by those who administer the repo."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
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
    if not repo.gated or not Repo.objects.filter(pk=repo.pk).known_to(actor).exists():
        raise NotGated(f"{repo.full_name} is not gated: there is nothing to ask for.")
    state = State.ACCEPTED if repo.gated == Gate.AUTO else State.PENDING
    with transaction.atomic():
        row, made = AccessRequest.objects.get_or_create(
            repo=repo, account=actor.account, defaults={"state": state, "text": text.strip()[:2000]}
        )
        if made:
            record(actor.account, "ask_for_access", repo=repo, state=state)
    return row


def requests_of(actor: Actor, repo: Repo, state: str) -> QuerySet[AccessRequest]:
    """Who asked, in one state. Raises Denied."""
    rights.require(actor, Verb.ADMIN, repo)
    return AccessRequest.objects.filter(repo=repo, state=state).select_related("account")


def answer(*, actor: Actor, row: AccessRequest, state: str, reason: str = "") -> AccessRequest:
    """Let in, keep out, or put back to pending; who is kept out can no longer read at once. Raises Denied."""
    rights.require(actor, Verb.ADMIN, row.repo)
    if state not in State.values:
        raise ValidationError(f"A request becomes one of {', '.join(State.values)}.")
    with transaction.atomic():
        row.state, row.reason = state, reason.strip()[:300]
        row.save(update_fields=["state", "reason"])
        record(actor.account, f"access_{state}", repo=row.repo, account=row.account.name)
    return row


def grant(*, actor: Actor, repo: Repo, account: Account) -> AccessRequest:
    """Let a person in who did not ask. Raises Denied."""
    rights.require(actor, Verb.ADMIN, repo)
    row, _made = AccessRequest.objects.get_or_create(repo=repo, account=account)
    return answer(actor=actor, row=row, state=State.ACCEPTED)
