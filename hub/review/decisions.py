"""What maintainers decide, always about the commit they saw; nobody decides their own work."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor, actor_for
from hub.accounts.models import Account, Role
from hub.activity.notices import tell
from hub.activity.record import record
from hub.repos import trees
from hub.review import change_requests, queue
from hub.review.models import (
    AutoRule,
    ChangeRequest,
    Check,
    Comment,
    Decision,
    DelayedRejection,
    PrivateNote,
    Reason,
    State,
)
from hub.review.refusals import NotPossible
from hub.rights import Denied, Verb

MOST_DAYS = 90
WORDS = {
    Decision.Verdict.APPROVE: "approved",
    Decision.Verdict.REQUEST_CHANGES: "asked for changes to",
    Decision.Verdict.REJECT: "rejected",
    Decision.Verdict.REQUEST_INFO: "asked a question about",
}


class Moved(Exception):
    """The change request has new commits since the one that was looked at; look again."""

    def __init__(self, head: str) -> None:
        super().__init__(f"New commits have arrived (now {head[:10]}). Look at them, then decide again.")
        self.head = head


def may_decide(actor: Actor, request: ChangeRequest) -> bool:
    """Maintainers, but nobody their own: neither as author nor as (member of the) owner of the repo."""
    if not rights.can(actor, Verb.REVIEW, request.repo) or actor.account is None:
        return False
    return not rights.is_own_work(actor.account, request.repo, request.author)


def decide(
    *,
    actor: Actor,
    request: ChangeRequest,
    verdict: str,
    sha: str,
    reason: str = "",
    reply_by: datetime | None = None,
    reject_at: datetime | None = None,
    rule: AutoRule | None = None,
) -> Decision:
    """Approve (and merge), request changes, ask for information, or reject (and close, now or `reject_at`) what was
    seen at `sha`. Where two people must agree, the first approval only counts and the second one merges.

    Raises Denied (not a maintainer, own work), Moved, NotPossible, refusals.MergeConflict.
    """
    if not may_decide(actor, request):
        raise Denied("Decisions are for maintainers, and nobody decides their own work or their organisation's.")
    assert actor.account is not None
    _check_dates(verdict, reply_by, reject_at)
    if verdict != Decision.Verdict.APPROVE and not reason.strip():
        raise NotPossible("Say why: the contributor needs a reason to go on.")
    with transaction.atomic():
        request = ChangeRequest.objects.locked(request)
        if request.state != State.OPEN:
            raise NotPossible(f"This change request is {request.state}; there is nothing to decide.")
        head = trees.resolve_commit(request.repo, request.ref).sha
        if head != sha:
            raise Moved(head)
        _count_only(request, sha)
        if verdict == Decision.Verdict.APPROVE and request.approver_id == actor.account.pk:
            raise NotPossible("You have approved this commit already; a second maintainer must agree.")
        decision = Decision.objects.create(
            change_request=request, maintainer=actor.account, author=request.author, verdict=verdict, sha=sha,
            reason=reason.strip()[:5000], rule=rule,
        )  # fmt: skip
        Comment.objects.create(
            change_request=request, author=actor.account, kind=Comment.Kind.DECISION, text=decision.reason,
            data={"verdict": verdict, "oid": sha, **({"rule": rule.name} if rule else {})},
        )  # fmt: skip
        record(actor.account, f"decide_{verdict}", repo=request.repo, number=request.number, sha=sha)
        if request.author:
            text = f"{actor.account.name} {WORDS[Decision.Verdict(verdict)]} {request.title}"
            tell([request.author], "decision", text, request.get_absolute_url(), actor=actor.account, repo=request.repo)
        _carry_out(actor, request, decision, reply_by, reject_at)
    return decision


def _count_only(request: ChangeRequest, sha: str) -> None:
    """An approval counts for the commit it was given for and no other, however the ref came to be where it is."""
    given = Decision.objects.filter(
        change_request=request, maintainer=request.approver_id, verdict=Decision.Verdict.APPROVE, sha=sha
    )
    if request.approver_id is not None and not given.exists():
        request.approver = request.second_approver = None
        request.save(update_fields=["approver", "second_approver"])


def _check_dates(verdict: str, *dates: datetime | None) -> None:
    """Raise NotPossible for a date that cannot be meant."""
    reply_by, reject_at = dates
    if verdict == Decision.Verdict.REQUEST_INFO and reply_by is None:
        raise NotPossible("Say until when you hope for an answer.")
    now = timezone.now()
    for date in dates:
        if date is not None and not now < date < now + timedelta(days=MOST_DAYS):
            raise NotPossible(f"The date must lie ahead, by {MOST_DAYS} days at most.")
    if reject_at is not None and verdict != Decision.Verdict.REJECT:
        raise NotPossible("Only a rejection can be delayed.")


def _carry_out(
    actor: Actor, request: ChangeRequest, decision: Decision, reply_by: datetime | None, reject_at: datetime | None
) -> None:
    verdict, account = decision.verdict, decision.maintainer
    DelayedRejection.objects.filter(change_request=request).delete()
    if verdict == Decision.Verdict.APPROVE:
        if request.approver_id is None:
            request.approver = account
        else:
            request.second_approver = account
        request.reply_by = None
        request.save(update_fields=["approver", "second_approver", "reply_by"])
        if request.two_people and request.second_approver_id is None:
            queue.reassess(request, drop=Reason.ANSWERED)
        else:
            change_requests.merge_approved(actor=actor, request=request)
    elif verdict == Decision.Verdict.REQUEST_INFO:
        ChangeRequest.objects.filter(pk=request.pk).update(reply_by=reply_by)
        queue.reassess(request, drop=Reason.ANSWERED)
    elif verdict == Decision.Verdict.REJECT and reject_at is not None:
        DelayedRejection.objects.create(
            change_request=request, maintainer=account, sha=decision.sha, reason=decision.reason, at=reject_at
        )
        ChangeRequest.objects.filter(pk=request.pk).update(reply_by=reject_at)
        queue.reassess(request, drop=Reason.ANSWERED)
    else:
        ChangeRequest.objects.filter(pk=request.pk).update(approver=None, second_approver=None, reply_by=None)
        state = State.CLOSED if verdict == Decision.Verdict.REJECT else State.DRAFT
        change_requests.set_state(actor=actor, request=request, state=state)


def hand_over(*, actor: Actor, request: ChangeRequest, to: str, note: str = "") -> ChangeRequest:
    """Ask one maintainer to decide. Raises Denied, NotPossible (nobody of that name may decide this)."""
    if not rights.can(actor, Verb.REVIEW, request.repo):
        raise Denied("Only maintainers hand over what waits.")
    person = Account.objects.filter(name__iexact=to.strip(), is_active=True).first()
    if person is None or not may_decide(actor_for(person), request):
        raise NotPossible(f"'{to[:60]}' is not a maintainer who may decide this.")
    with transaction.atomic():
        ChangeRequest.objects.filter(pk=request.pk).update(assigned=person)
        record(actor.account, "hand_over", repo=request.repo, number=request.number, to=person.name)
        if note.strip():
            add_note(actor=actor, request=request, text=note)
        text = f"{request.title} was handed over to you"
        tell([person], "queue", text, request.get_absolute_url(), actor=actor.account, repo=request.repo)
        return queue.reassess(request, note=f"to {person.name}")


def add_note(*, actor: Actor, request: ChangeRequest, text: str) -> PrivateNote:
    """Leave a note that only maintainers who may decide this ever see. Raises Denied, NotPossible."""
    if not may_decide(actor, request):
        raise Denied("Private notes are for maintainers, and never about their own work.")
    if not text.strip():
        raise NotPossible("A note needs some text.")
    return PrivateNote.objects.create(change_request=request, author=actor.account, text=text.strip()[:5000])


def notes_of(actor: Actor, request: ChangeRequest) -> QuerySet[PrivateNote]:
    """The private notes, for those who may decide; none for anybody else."""
    if not may_decide(actor, request):
        return PrivateNote.objects.none()
    return request.notes.select_related("author")


def deciders(request: ChangeRequest) -> list[Account]:
    """Every maintainer who may decide this: to whom it can be handed over."""
    people = Account.objects.filter(role__in=(Role.MAINTAINER, Role.ADMIN), is_active=True).order_by("name")
    return [person for person in people if may_decide(actor_for(person), request)]


def checks_of(request: ChangeRequest) -> QuerySet[Check]:
    """The checks on its newest commit."""
    head = trees.resolve_commit(request.repo, request.ref)
    return Check.objects.filter(repo=request.repo, sha=head.sha)
