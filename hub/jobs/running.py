"""A job in the hands of whoever does it: progress, heartbeat, how it may stop, and a fenced end.

Every write carries (job, attempt): a worker that was paused past its lease finds its writes refused.
Times are the database's own, so a worker's clock does not matter.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from hub.accounts.actor import NOBODY, Actor, actor_for
from hub.jobs.models import Job, State

LEASE = timedelta(seconds=30)
HEARTBEAT_SECONDS = 10.0
PROGRESS_SECONDS = 1.0
log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Someone asked this job to stop."""


class LostLease(Exception):
    """Another worker has this job now; nothing of ours may be written."""


class TryAgain(Exception):
    """It could not be done this time; the message is the reason that people see while it waits for another try."""


class JobFailed(Exception):
    """The work cannot be done; the message is for the person who asked. Not retried."""


class Running:
    """What a handler holds while it works: arguments in, progress out, and the fence for its final writes."""

    def __init__(self, job: Job) -> None:
        self.job, self.attempt = job, job.attempt
        self._last_written = 0.0
        self._stop = threading.Event()
        self._lost = False

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.job.arguments)

    @property
    def actor(self) -> Actor:
        """In whose name the work is done, with the rights they have now."""
        return actor_for(self.job.owner) if self.job.owner else NOBODY

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Say how far it is; written at most once a second. Raises Cancelled, LostLease."""
        now = time.monotonic()
        if now - self._last_written < PROGRESS_SECONDS and done < total:
            if self._lost:
                raise LostLease
            return
        self._last_written = now
        if not self._mine().update(done=done, total=total, note=note[:300]):
            raise LostLease
        if self._mine().filter(cancel_requested=True).exists():
            raise Cancelled

    @contextmanager
    def adopt(self) -> Iterator[None]:
        """A transaction for the effects, committed only if the job is still ours. Raises LostLease, Cancelled."""
        with transaction.atomic():
            row = Job.objects.select_for_update().filter(pk=self.job.pk).first()
            if row is None or row.state != State.RUNNING or row.attempt != self.attempt:
                raise LostLease
            if row.cancel_requested:
                raise Cancelled
            yield

    def end(self, state: str, **fields: Any) -> None:
        """The last write, refused if the job is no longer ours."""
        self._mine().update(state=state, ended_at=Now(), lease_until=None, **fields)

    def give_back(self, reason: str) -> None:
        """Let the job wait for another try, if it is still ours."""
        self._mine().update(state=State.QUEUED, lease_until=None, sent_at=None, error=reason, note="Will try again.")

    def _mine(self) -> Any:
        return Job.objects.filter(pk=self.job.pk, state=State.RUNNING, attempt=self.attempt)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                if not self._mine().update(lease_until=Now() + LEASE):
                    self._lost = True
                    return
            except Exception:
                log.warning("heartbeat of job %s failed", self.job.pk, exc_info=True)
            finally:
                connection.close()

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Extend the lease from a thread while the work goes on."""
        thread = threading.Thread(target=self._beat, name=f"heartbeat-{self.job.pk}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(timeout=5)
