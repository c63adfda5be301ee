"""A job in a process of its own, with limits of memory and time that the system enforces.

The worker's process only waits. Whatever becomes of the other (it asked for too much memory, was killed, crashed in a
library, is stuck in a loop), the worker goes on, and the row says what happened. New processes are forked from one that
has the heavy imports done and has never computed anything, so a job starts at once.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db import connection

from hub.jobs import registry, working
from hub.jobs.models import Job
from hub.jobs.registry import JobKind

MAIN: Any = multiprocessing.process.current_process()
"""As multiprocessing knows it; this module is imported before a pool is made."""
LOOK_SECONDS = 2.0
CANCEL_GRACE_SECONDS = 30.0
"""A cancelled job ends at its next step; one that has none for this long is ended."""


def run_job(job_id: str, worker: str) -> None:
    """Claim and do one job, apart if its kind has limits."""
    name = Job.objects.filter(pk=job_id).values_list("kind", flat=True).first()
    if name is None:
        return
    kind = registry.kind_named(name)
    if kind.limits is None:
        working.run_job(job_id, worker)
        return
    connection.close()  # nothing of ours is used while we wait
    with _as_main():
        process = _context().Process(target=_child, args=(kind, job_id, worker), daemon=True)
        process.start()
    reason, final = _wait(process, kind, job_id)
    if reason:
        working.ended_apart(job_id, worker, reason, again=not final)


@contextmanager
def _as_main() -> Iterator[None]:
    """Celery's pool puts a process object of its own in multiprocessing's place, marked as one that may have no
    children and with a key that cannot be handed on. Ours may: they end with us (see `_end_with_parent`)."""
    known: Any = multiprocessing.process
    before, known._current_process = known._current_process, MAIN
    try:
        yield
    finally:
        known._current_process = before


@cache
def _context() -> Any:
    """The way to make processes; what they need is imported once, before the first of them."""
    context = multiprocessing.get_context("forkserver")
    kinds = [kind for kind in registry.known_kinds() if kind.limits is not None]
    modules = {path.partition(":")[0] for kind in kinds for path in (kind.handler, kind.failed) if path}
    context.set_forkserver_preload(["hub.jobs.preload", *sorted(modules)])
    return context


def _wait(process: Any, kind: JobKind, job_id: str) -> tuple[str, bool]:
    """(why the process did not end well, whether trying again is of no use); empty when it did."""
    assert kind.limits is not None
    until, cancelled_at = time.monotonic() + kind.limits.hard_seconds, 0.0
    while process.exitcode is None:
        process.join(LOOK_SECONDS)
        now = time.monotonic()
        if process.exitcode is None and now > until:
            _end(process)
            return kind.limits.too_long(), True
        if process.exitcode is None and Job.objects.filter(pk=job_id, cancel_requested=True).exists():
            cancelled_at = cancelled_at or now
            if now - cancelled_at > CANCEL_GRACE_SECONDS:
                _end(process)
                return "Cancelled.", True
    if process.exitcode == 0:
        return "", False
    if process.exitcode == -signal.SIGXCPU:
        return kind.limits.too_long(), True
    return (
        f"Its process {_how(process.exitcode)}. The memory allowed is {kind.limits.hard_bytes // 2**20:,} MiB.",
        False,
    )


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def _end(process: Any) -> None:
    process.terminate()
    process.join(5)
    if process.exitcode is None:
        process.kill()
        process.join(5)


def _child(kind: JobKind, job_id: str, worker: str) -> None:
    """In the new process: set the limits, then work as any worker does."""
    assert kind.limits is not None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # DATA counts what is allocated and not what is only mapped, so that large files and GPU drivers do not matter
    _limit(resource.RLIMIT_DATA, kind.limits.hard_bytes)
    _limit(resource.RLIMIT_CPU, int(kind.limits.hard_seconds * (os.cpu_count() or 1)) + 1)
    _limit(resource.RLIMIT_CORE, 0)
    registry.register(kind)
    try:
        working.run_job(job_id, worker)
    finally:
        connection.close()


def _limit(which: int, most: int) -> None:
    hard = resource.getrlimit(which)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


def _end_with_parent() -> None:
    """A worker that was killed leaves nothing running: the job's lease ends, and another worker takes it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
