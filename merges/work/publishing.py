"""A job's result becomes a commit: through the one door, in the transaction that also fences the job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub.jobs.running import JobFailed, Running
from hub.repos import trees
from hub.repos.changes import Change, DeleteFolder, OnDisk, Put
from hub.repos.commits import Conflict, commit
from hub.repos.models import Commit
from hub.rights import Denied

TRIES_ON_A_MOVING_BRANCH = 5


def publish_folder(
    running: Running, repo: Any, output: Path, message: str, remember: Callable[[Commit], None]
) -> Commit:
    """Commit a folder in the owner's name and, in the same fenced transaction, what is to be remembered of it."""
    files = sorted(path for path in output.rglob("*") if path.is_file())
    for attempt in range(TRIES_ON_A_MOVING_BRANCH):
        changes: list[Change] = [Put(str(path.relative_to(output)), OnDisk(path)) for path in files]
        head = Commit.objects.filter(repo=repo, sha=repo.head).first()
        if head and any(path.startswith("heads/") for path in trees.flatten(repo, head.tree)):
            changes.insert(0, DeleteFolder("heads"))
        try:
            with running.adopt():
                made = commit(actor=running.actor, repo=repo, changes_=changes, message=message)
                remember(made)
            return made
        except Conflict:
            if attempt == TRIES_ON_A_MOVING_BRANCH - 1:
                raise
        except Denied as error:
            raise JobFailed(str(error)) from error
    raise AssertionError("unreachable")
