"""The maintainers' queue: why something waits, how risky it is, until when somebody should decide, and who looks now.

Reasons follow from facts (checks, kind, approvals, dates) by one function, `reassess`, called wherever a fact changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import CharField, Count, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from hub.accounts.actor import Actor
from hub.repos.models import Kind, Ref, Repo
from hub.review.models import ChangeRequest, Check, Look, QueueReason, QueueStay, Reason, Risk, State, Verdict

DAYS: dict[str, int] = {
    Reason.HIGH_CHECK: 1, Reason.OVERDUE_ANSWER: 1, Reason.NEW_BASE: 2, Reason.ANSWERED: 2, Reason.SECOND_PERSON: 2,
    Reason.HANDED_OVER: 2, Reason.SYSTEM: 3, Reason.FAILED_CHECK: 5, Reason.PROPOSAL: 5,
}  # fmt: skip
"""In how many days a maintainer should have decided what waits for this reason."""

HIGH_CHECKS = frozenset({"finite", "safe", "overlap", "licence"})
"""Checks whose failure needs two people."""

LOOKING = timedelta(seconds=40)
"""Pages say every 20 s that somebody is still there; twice that without a sign, and they are gone."""


@dataclass(frozen=True)
class QueueFilters:
    """What the address of the queue may ask for; empty means all."""

    reason: str = ""
    risk: str = ""
    kind: str = ""
    mine: bool = False
    overdue: bool = False
    waiting: bool = False

    def conditions(self, actor: Actor) -> Q:
        """The rows wanted; unknown values find nothing rather than everything."""
        wanted = Q()
        if self.reason:
            held = QueueReason.objects.filter(reason=self.reason, ended_at=None)
            wanted &= Q(pk__in=held.values("change_request"))
        if self.risk:
            wanted &= Q(risk={label.lower(): value for value, label in Risk.choices}.get(self.risk, 99))
        if self.kind:
            wanted &= Q(repo__kind=self.kind)
        if self.mine:
            wanted &= Q(assigned=actor.account)
        if self.overdue:
            wanted &= Q(due_at__lt=timezone.now())
        if self.waiting:
            wanted &= Q(reply_by__gt=timezone.now())
        return wanted


def read_filters(asked: Mapping[str, str]) -> QueueFilters:
    """Filters from an address."""
    reason = Reason.FAILED_CHECK if asked.get("failed") else asked.get("reason", "")
    return QueueFilters(
        reason=str(reason), risk=asked.get("risk", ""), kind=asked.get("kind", ""),
        mine=_is_on(asked.get("mine")), overdue=_is_on(asked.get("overdue")), waiting=_is_on(asked.get("waiting")),
    )  # fmt: skip


def _is_on(text: str | None) -> bool:
    return text in ("1", "true", "on")


def queue(actor: Actor, filters: QueueFilters | None = None) -> QuerySet[ChangeRequest]:
    """Open change requests the actor may read, the oldest due first, with their newest commit and checks counted."""
    head = Ref.objects.filter(repo=OuterRef("repo"), name=_ref_name_of(OuterRef("number")))
    requests = (
        ChangeRequest.objects.visible_to(actor)
        .filter((filters or QueueFilters()).conditions(actor), state=State.OPEN)
        .order_by(F("due_at").asc(nulls_last=True), "opened_at", "pk")
        .select_related("repo__owner", "author", "assigned")
        .annotate(head=Subquery(head.values("target")[:1]))
    )
    for name, verdict in (("passed", Verdict.PASS), ("warned", Verdict.WARN), ("failed", Verdict.FAIL)):
        counted = (
            Check.objects.filter(repo=OuterRef("repo"), sha=OuterRef("head"), verdict=verdict)
            .order_by()
            .values("repo")
            .annotate(n=Count("pk"))
            .values("n")
        )
        requests = requests.annotate(**{name: Subquery(counted)})
    return requests


def next_after(actor: Actor, request: ChangeRequest) -> ChangeRequest | None:
    """What stands behind this in the queue; its first item where this is the last or has left; None if all is done."""
    keys = list(queue(actor).values_list("pk", flat=True))
    place = keys.index(request.pk) + 1 if request.pk in keys else 0
    following = [key for key in keys[place:] + keys[:place] if key != request.pk]
    return ChangeRequest.objects.select_related("repo__owner").get(pk=following[0]) if following else None


def _ref_name_of(number: OuterRef) -> Concat:
    return Concat(Value("refs/pr/"), Cast(number, CharField()))


def adorn(requests: list[ChangeRequest]) -> list[ChangeRequest]:
    """Give each of a page's rows its `why` (reasons that hold) and `lookers`, in two queries for all of them."""
    rows: dict[int, ChangeRequest] = {request.pk: request for request in requests}
    for request in requests:
        request.why, request.lookers = [], []  # type: ignore[attr-defined]
    for reason in QueueReason.objects.filter(change_request__in=rows, ended_at=None):
        rows[reason.change_request_id].why.append(reason)  # type: ignore[attr-defined]
    for look in Look.objects.filter(change_request__in=rows, at__gt=timezone.now() - LOOKING).select_related("account"):
        rows[look.change_request_id].lookers.append(look.account)  # type: ignore[attr-defined]
    return requests


def reassess(request: ChangeRequest, *, add: str = "", note: str = "", drop: str = "") -> ChangeRequest:
    """Work out anew why this waits, its risk, when it is due and whether it needs two people.

    `add` and `drop` name a reason that only the caller knows of (an answer came, a decision was made). Safe to repeat.
    """
    with transaction.atomic():
        request = ChangeRequest.objects.locked(request)
        held = {row.reason: row for row in request.reasons.filter(ended_at=None)}
        wanted = _wanted(request, set(held) - {drop}) | ({add} - {""}) if request.state == State.OPEN else set()
        now = timezone.now()
        for name in held.keys() - wanted:
            QueueReason.objects.filter(pk=held[name].pk).update(ended_at=now)
        for name in wanted - held.keys():
            held[name] = QueueReason.objects.create(change_request=request, reason=name, note=note[:300])
        _stay(request, now)
        if request.state == State.OPEN:  # afterwards it says what was needed then
            request.two_people = bool(wanted & {Reason.NEW_BASE, Reason.HIGH_CHECK})
            request.risk = _risk(wanted)
        request.due_at = _due(request, [held[name] for name in wanted], now)
        request.save(update_fields=["two_people", "risk", "due_at"])
    return request


def _wanted(request: ChangeRequest, held: set[str]) -> set[str]:
    failed = set(_failed_checks(request))
    facts = {
        Reason.PROPOSAL: True,
        Reason.NEW_BASE: request.repo.kind == Kind.BASE,
        Reason.SYSTEM: request.repo.kind == Kind.SYSTEM,
        Reason.FAILED_CHECK: bool(failed),
        Reason.HIGH_CHECK: bool(failed & HIGH_CHECKS),
        Reason.SECOND_PERSON: request.approver_id is not None,
        Reason.HANDED_OVER: request.assigned_id is not None,
        Reason.OVERDUE_ANSWER: request.reply_by is not None and request.reply_by < timezone.now(),
        Reason.ANSWERED: Reason.ANSWERED in held,
    }
    return {str(name) for name, holds in facts.items() if holds}


def _failed_checks(request: ChangeRequest) -> list[str]:
    head = Ref.objects.filter(repo=request.repo, name=request.ref).values("target")[:1]
    return list(
        Check.objects.filter(repo=request.repo, sha__in=head, verdict=Verdict.FAIL).values_list("name", flat=True)
    )


def _risk(reasons: set[str]) -> int:
    if Reason.HIGH_CHECK in reasons:
        return Risk.HIGH
    return Risk.MEDIUM if reasons & {Reason.NEW_BASE, Reason.SYSTEM, Reason.FAILED_CHECK} else Risk.LOW


def _due(request: ChangeRequest, reasons: list[QueueReason], now: datetime) -> datetime | None:
    if not reasons:
        return None
    due = min(row.since + timedelta(days=DAYS[row.reason]) for row in reasons)
    return max(due, request.reply_by) if request.reply_by and request.reply_by > now else due


def _stay(request: ChangeRequest, now: datetime) -> None:
    """Entry and exit: one open stay while the change request is open."""
    if request.state == State.OPEN:
        QueueStay.objects.get_or_create(
            change_request=request, left_at=None, defaults={"entered_at": request.opened_at or now}
        )
    else:
        request.stays.filter(left_at=None).update(left_at=now, left_as=request.state)


def reassess_commit(repo: Repo, sha: str) -> None:
    """Checks of a commit have changed: look anew at the open change requests whose newest commit it is."""
    names = Ref.objects.filter(repo=repo, target=sha, name__startswith="refs/pr/").values_list("name", flat=True)
    numbers = [int(name.removeprefix("refs/pr/")) for name in names]
    for request in ChangeRequest.objects.filter(repo=repo, number__in=numbers, state=State.OPEN):
        reassess(request)


def look(actor: Actor, request: ChangeRequest) -> None:
    """Say that a maintainer has this open now. It informs others and locks nothing."""
    if actor.account is not None and actor.is_maintainer:
        Look.objects.update_or_create(change_request=request, account=actor.account, defaults={"at": timezone.now()})


def lookers(request: ChangeRequest, actor: Actor) -> list[Any]:
    """Which other maintainers have it open now."""
    rows = request.looks.filter(at__gt=timezone.now() - LOOKING).exclude(account=actor.account)
    return [row.account for row in rows.select_related("account")]


@dataclass(frozen=True)
class Statistics:
    """How the queue does, counted over what the asker may read. Times in seconds."""

    open: int
    overdue: int
    oldest: float | None
    decided: int
    median_wait: float | None
    days: int = 90


def statistics(actor: Actor, days: int = 90) -> Statistics:
    """Open and overdue items, the age of the oldest, and the median wait of what left within `days`."""
    now = timezone.now()
    waiting = ChangeRequest.objects.visible_to(actor).filter(state=State.OPEN)
    oldest = waiting.exclude(opened_at=None).order_by("opened_at").values_list("opened_at", flat=True).first()
    left = QueueStay.objects.filter(
        left_at__gt=now - timedelta(days=days), change_request__in=ChangeRequest.objects.visible_to(actor)
    )
    waits = sorted((row.left_at - row.entered_at).total_seconds() for row in left if row.left_at)
    middle = len(waits) // 2
    median = None if not waits else waits[middle] if len(waits) % 2 else (waits[middle - 1] + waits[middle]) / 2
    return Statistics(
        open=waiting.count(),
        overdue=waiting.filter(due_at__lt=now).count(),
        oldest=(now - oldest).total_seconds() if oldest else None,
        decided=len(waits),
        median_wait=median,
        days=days,
    )
