"""Putting work in the queue, and taking it out again."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.jobs.models import Job, State
from hub.jobs.registry import kind_named
from hub.repos.models import Repo


def enqueue(
    kind: str,
    *,
    title: str,
    arguments: dict[str, Any],
    owner: Account | None = None,
    repo: Repo | None = None,
    key: str | None = None,
    queue: str | None = None,
) -> Job:
    """Queue work in the caller's transaction; the knock is sent after it commits. With `key`, the same work once."""
    fields = {
        "kind": kind, "title": title[:200], "arguments": arguments, "owner": owner, "repo": repo,
        "queue": queue or kind_named(kind).queue,
    }  # fmt: skip
    if key is None:
        job, made = Job.objects.create(**fields), True
    else:
        job, made = Job.objects.get_or_create(key=key, defaults=fields)
    if made:
        transaction.on_commit(lambda: knock(job))
    return job


def knock(job: Job) -> None:
    """Send the message. If the broker is down the sweep sends it later: the row is what counts."""
    from celery import current_app
    from kombu.exceptions import OperationalError

    try:
        current_app.send_task("hub.jobs.run", args=(str(job.pk),), queue=job.queue, retry=False)
    except (OperationalError, ConnectionError, OSError):
        return
    Job.objects.filter(pk=job.pk).update(sent_at=timezone.now())


def may_cancel(actor: Actor, job: Job) -> bool:
    """Its owner, who may write its repo, and maintainers; with a token for some repos only jobs about those."""
    if actor.account is None or not actor.may_write:
        return False
    if actor.is_limited and (job.repo is None or not actor.reaches(job.repo.full_name)):
        return False
    if job.owner_id == actor.account.pk or actor.is_maintainer:
        return True
    return job.repo is not None and rights.can(actor, rights.Verb.WRITE, job.repo)


def cancel(*, actor: Actor, job: Job) -> Job:
    """Stop a job: at once if it waits, at its next step if it runs. Raises rights.Denied."""
    if not may_cancel(actor, job):
        raise rights.Denied("Only its owner and maintainers may cancel this job.")
    now = timezone.now()
    Job.objects.filter(pk=job.pk, state=State.QUEUED).update(
        state=State.CANCELLED, cancel_requested=True, ended_at=now, note="Cancelled before it began."
    )
    Job.objects.filter(pk=job.pk, state=State.RUNNING).update(cancel_requested=True)
    job.refresh_from_db()
    return job
