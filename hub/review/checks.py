"""Writing checks: one row for each (commit, name), the newest verdict wins."""

from __future__ import annotations

from typing import Any

from hub.jobs.models import Job
from hub.repos.models import Repo
from hub.review import queue
from hub.review.models import Check


def write_check(
    *, repo: Repo, sha: str, name: str, verdict: str, summary: str, details: dict[str, Any] | None = None,
    job: Job | None = None,
) -> Check:  # fmt: skip
    """Record a verdict on a commit."""
    row, _made = Check.objects.update_or_create(
        repo=repo, sha=sha, name=name,
        defaults={"verdict": verdict, "summary": summary[:1000], "details": details or {}, "job": job},
    )  # fmt: skip
    queue.reassess_commit(repo, sha)
    return row


def withdraw_check(*, repo: Repo, sha: str, name: str) -> None:
    """A verdict that holds no longer."""
    if Check.objects.filter(repo=repo, sha=sha, name=name).delete()[0]:
        queue.reassess_commit(repo, sha)
