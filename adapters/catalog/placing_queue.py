"""Queues the placement of a commit; apart from `placing`, so that quick jobs and web processes never load torch."""

from __future__ import annotations

from hub.accounts.models import Account
from hub.jobs.models import Job
from hub.jobs.queue import enqueue
from hub.repos.models import Commit, Kind, Repo


def queue(repo: Repo, commit: Commit, owner: Account | None) -> Job | None:
    """Queue the placement of a commit that is its repo's head; bases have no place of their own."""
    if repo.kind in (Kind.BASE, Kind.SYSTEM) or repo.head != commit.sha:
        return None
    return enqueue(
        "adapters.embed",
        title=f"Place {repo.full_name} at {commit.short}",
        arguments={"repo": str(repo.pk), "sha": commit.sha},
        owner=owner,
        repo=repo,
        key=f"embed:{repo.pk}:{commit.sha}",
    )
