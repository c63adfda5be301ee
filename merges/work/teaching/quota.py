"""How much one person may have taught: trainings at once, and within a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings as site
from django.db.models import Q
from django.utils import timezone

from hub.accounts.models import Account
from hub.jobs.models import ENDED, Job
from merges.models import TeachingAsked
from merges.work.subjects import BadRequest

DAY = timedelta(days=1)


class TooMany(BadRequest):
    """This person has as much work waiting, or had as much done today, as one person may."""


@dataclass(frozen=True)
class Quota:
    """One person's trainings and comparisons that wait or run, trainings within a day, and how many are allowed."""

    waiting: int
    at_once: int
    today: int
    a_day: int


def quota_of(account: Account) -> Quota:
    """How much of what one person may ask for is used."""
    work = Job.objects.filter(Q(teaching__isnull=False) | Q(compared_teaching__isnull=False), owner=account)
    return Quota(
        work.exclude(state__in=ENDED).count(), site.LIMITS["teachings_at_once"],
        TeachingAsked.objects.filter(account=account, at__gt=timezone.now() - DAY).count(),
        site.LIMITS["teachings_a_day"],
    )  # fmt: skip


def check_waiting(account: Account) -> Quota:
    """What is used. Raises TooMany when as much waits or runs as one person may have; the account must be locked."""
    used = quota_of(account)
    if used.waiting >= used.at_once:
        raise TooMany(
            f"You have {used.waiting} trainings or comparisons waiting or running, as many as one person may. Wait for "
            "one to end, or cancel one."
        )
    return used


def count_one(account: Account) -> None:
    """Count a training that is asked for now. Raises TooMany; the account must be locked."""
    used = check_waiting(account)
    if used.today >= used.a_day:
        raise TooMany(
            f"You have asked for {used.today} trainings within a day, as many as one person may. Try tomorrow."
        )
    TeachingAsked.objects.filter(account=account, at__lte=timezone.now() - DAY).delete()
    TeachingAsked.objects.create(account=account)
