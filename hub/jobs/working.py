"""What a worker does with a job: claim by a conditional UPDATE, do it, say how it ended, give back what was lost."""

from __future__ import annotations

import logging
import socket
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from hub.jobs.limits import is_out_of_memory
from hub.jobs.models import Job, State
from hub.jobs.reasons import reason_of
from hub.jobs.registry import MAX_ATTEMPTS, kind_named
from hub.jobs.running import LEASE, Cancelled, JobFailed, LostLease, Running, TryAgain

log = logging.getLogger(__name__)


def claim(job_id: str, worker: str) -> Running | None:
    """Take a queued job, or one whose lease ran out. None if somebody else has it or it ended."""
    free = Q(state=State.QUEUED) | Q(state=State.RUNNING, lease_until__lt=Now())
    taken = Job.objects.filter(free, pk=job_id, attempt__lt=MAX_ATTEMPTS).update(
        state=State.RUNNING, worker=worker, attempt=F("attempt") + 1, lease_until=Now() + LEASE, started_at=Now(),
        error="", done=0, total=0,
    )  # fmt: skip
    if not taken:
        return None
    return Running(Job.objects.select_related("owner", "repo__owner").get(pk=job_id))


def run_job(job_id: str, worker: str = "") -> None:
    """Claim and do one job. Never raises for what the job itself does: the row says how it ended."""
    running = claim(job_id, worker or socket.gethostname())
    if running is None:
        return
    try:
        with running.heartbeat():
            if running.job.cancel_requested:
                raise Cancelled
            result = kind_named(running.job.kind).load()(running)
        running.end(State.SUCCEEDED, result=result or {}, note="")
    except LostLease:
        log.warning("job %s was taken over by another worker", job_id)
    except Cancelled:
        running.end(State.CANCELLED, note="Cancelled.")
    except JobFailed as error:
        running.end(State.FAILED, error=str(error))
        given_up(job_id)
    except Exception as error:
        limits = kind_named(running.job.kind).limits
        if limits is not None and is_out_of_memory(error):
            running.end(State.FAILED, error=limits.too_much_memory())
            given_up(job_id)
        else:
            _after_crash(running, error)


def _after_crash(running: Running, error: Exception) -> None:
    """Not this time: try again while attempts are left, else fail, with the reason."""
    if not isinstance(error, TryAgain):
        log.exception("job %s (%s), attempt %s", running.job.pk, running.job.kind, running.attempt)
    reason = reason_of(error)
    if running.attempt < MAX_ATTEMPTS:
        running.give_back(reason)
    else:
        running.end(State.FAILED, error=f"Failed {MAX_ATTEMPTS} times. {reason}")
        given_up(str(running.job.pk))


def ended_apart(job_id: str, worker: str, reason: str, *, again: bool) -> None:
    """The process that did a job is gone and could not say so itself: try again while that is of use, else fail."""
    rows = Job.objects.filter(pk=job_id, state=State.RUNNING, worker=worker)
    if rows.filter(cancel_requested=True).update(
        state=State.CANCELLED, ended_at=Now(), lease_until=None, note="Cancelled."
    ):
        return
    if again and rows.filter(attempt__lt=MAX_ATTEMPTS).update(
        state=State.QUEUED, lease_until=None, sent_at=None, error=reason, note="Will try again."
    ):
        return
    words = f"Failed {MAX_ATTEMPTS} times. {reason}" if again else reason
    if rows.update(state=State.FAILED, ended_at=Now(), lease_until=None, error=words):
        given_up(job_id)


def given_up(job_id: str) -> None:
    """Tell the room of a job that was given up; what goes wrong there is logged and stops nobody else."""
    job = Job.objects.filter(pk=job_id, state=State.FAILED).first()
    if job is None:
        return
    try:
        with transaction.atomic():
            kind_named(job.kind).tell_failed(job)
    except Exception:
        log.exception("job %s was given up, and its room could not be told", job_id)


def reap() -> int:
    """Jobs whose worker fell silent: queued again while attempts are left, else failed. Returns how many."""
    silent = Job.objects.filter(state=State.RUNNING, lease_until__lt=Now())
    lost = 0
    for key in list(silent.filter(attempt__gte=MAX_ATTEMPTS).values_list("pk", flat=True)):
        ended = silent.filter(pk=key, attempt__gte=MAX_ATTEMPTS).update(
            state=State.FAILED, lease_until=None, ended_at=Now(), error=f"The worker was lost {MAX_ATTEMPTS} times."
        )
        if ended:
            given_up(str(key))
        lost += ended
    return lost + silent.update(
        state=State.QUEUED, lease_until=None, sent_at=None, note="The worker was lost; waiting for another."
    )


def waiting_unsent(older_than: timedelta = timedelta(seconds=20)) -> list[Job]:
    """Queued jobs whose knock was never sent or went unheard for a minute."""
    return list(
        Job.objects.filter(state=State.QUEUED, created_at__lt=Now() - older_than)
        .filter(Q(sent_at=None) | Q(sent_at__lt=Now() - timedelta(minutes=5)))
        .order_by("created_at")[:200]
    )
