"""What the queue does by itself: delayed rejections, answers that did not come, and acceptance by a written rule."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from hub.accounts.actor import actor_for
from hub.activity.record import record
from hub.repos import trees
from hub.review import change_requests, decisions, merging, queue
from hub.review.models import (
    AutoRule,
    ChangeRequest,
    Decision,
    DelayedRejection,
    QueueReason,
    Reason,
    Sample,
    State,
    Verdict,
)
from hub.review.refusals import MergeConflict, NotPossible
from hub.rights import Denied

log = logging.getLogger(__name__)
Row = TypeVar("Row")

SETTLED = timedelta(minutes=2)
"""Checks arrive one after the other; a rule waits this long after the last of them."""


def carry_out_due() -> int:
    """Do what has come due; returns how many things were done. Safe to run twice at once."""
    due = DelayedRejection.objects.filter(at__lte=timezone.now()).order_by("at")
    done = _each(list(due.values_list("pk", flat=True)), _reject)
    known = QueueReason.objects.filter(reason=Reason.OVERDUE_ANSWER, ended_at=None).values("change_request")
    silent = ChangeRequest.objects.filter(state=State.OPEN, reply_by__lt=timezone.now()).exclude(pk__in=known)
    return done + _each(silent[:500], _overdue)


def _each(rows: Iterable[Row], work: Callable[[Row], int]) -> int:
    """How much was done; what cannot be done is logged and stops no other, for others' work waits behind it."""
    done = 0
    for row in rows:
        try:
            done += work(row)
        except Exception:
            log.exception("The queue could not go on with %s", row)
    return done


def _overdue(request: ChangeRequest) -> int:
    queue.reassess(request)
    return 1


def _reject(pk: int) -> int:
    with transaction.atomic():
        row = (
            DelayedRejection.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("change_request__repo__owner", "change_request__author", "maintainer")
            .filter(pk=pk)
            .first()
        )
        if row is None:
            return 0
        request = row.change_request
        row.delete()
        if request.state != State.OPEN or trees.resolve_commit(request.repo, request.ref).sha != row.sha:
            return 0
        actor = actor_for(row.maintainer)
        try:
            change_requests.set_state(actor=actor, request=request, state=State.CLOSED, text=row.reason)
        except Denied:  # the maintainer is one no longer: somebody else must look
            queue.reassess(request)
            return 0
        record(row.maintainer, "reject_after_delay", repo=request.repo, number=request.number, sha=row.sha)
    return 1


def accept_by_rules() -> int:
    """Accept small, clean changes of proven contributors by written rules; returns how many."""
    done = 0
    for rule in AutoRule.objects.filter(enabled=True).select_related("owner"):
        before = timezone.now() - SETTLED
        waiting = (
            ChangeRequest.objects.visible_to(actor_for(rule.owner))
            .filter(state=State.OPEN, opened_at__lt=before, two_people=False, approver=None, reply_by=None)
            .exclude(Q(author=None) | Q(author=rule.owner))
            .select_related("repo__owner", "author")
        )
        done += _each(waiting[:200], partial(_accept, rule))
    return done


def fits(rule: AutoRule, request: ChangeRequest) -> str:
    """Why a rule does not accept this; empty if it does."""
    checks = list(decisions.checks_of(request))
    if not checks or any(check.verdict != Verdict.PASS for check in checks):
        return "Not every check passed."
    if max(check.created_at for check in checks) > timezone.now() - SETTLED:
        return "The checks are too fresh."
    accepted = ChangeRequest.objects.filter(author=request.author, state=State.MERGED).exclude(approver=None).count()
    if accepted < rule.accepted_before:
        return f"Its author has {accepted} accepted changes, the rule asks for {rule.accepted_before}."
    changed = _changed(request)
    if len(changed) > rule.most_files:
        return f"It changes {len(changed)} files."
    if rule.only_text and any(large for large in changed.values()):
        return "It changes weights or other large files."
    return "It cannot be merged." if merging.conflicts(request) else ""


def _changed(request: ChangeRequest) -> dict[str, bool]:
    """Changed path → whether the file is a large one on either side."""
    old = trees.list_files(request.repo, trees.resolve_commit(request.repo, request.base))
    new = trees.list_files(request.repo, trees.resolve_commit(request.repo, request.ref))
    sides = {path: (old.get(path), new.get(path)) for path in old.keys() | new.keys()}
    return {
        path: any(side is not None and side.blob is not None for side in pair)
        for path, pair in sides.items()
        if pair[0] is None or pair[1] is None or pair[0].sha != pair[1].sha
    }


def _accept(rule: AutoRule, request: ChangeRequest) -> int:
    actor = actor_for(rule.owner)
    if not decisions.may_decide(actor, request) or fits(rule, request):
        return 0
    sha = trees.resolve_commit(request.repo, request.ref).sha
    try:
        with transaction.atomic():
            decision = decisions.decide(
                actor=actor, request=request, verdict=Decision.Verdict.APPROVE, sha=sha, rule=rule,
                reason=f"Accepted by the rule “{rule.name}”.",
            )  # fmt: skip
            if int(hashlib.sha256(f"{rule.pk}:{sha}".encode()).hexdigest()[:8], 16) < rule.sample * 2**32:
                Sample.objects.create(decision=decision)
    except (decisions.Moved, NotPossible, MergeConflict, Denied):
        return 0
    return 1
