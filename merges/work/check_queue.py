"""What happens when a commit is proposed: its checks are queued, once. Imported by web processes: no torch here."""

from __future__ import annotations

from hub.jobs.queue import enqueue
from hub.repos.models import Commit, Ref, Repo


def on_commit(repo: Repo, commit: Commit, ref: Ref) -> None:
    """Queue the checks of a commit on a change request, in the commit's own transaction."""
    if not ref.name.startswith("refs/pr/"):
        return
    enqueue(
        "merges.check",
        title=f"Check {repo.full_name} at {commit.short}",
        arguments={"repo": str(repo.pk), "sha": commit.sha, "ref": ref.name},
        owner=commit.author,
        repo=repo,
        key=f"check:{repo.pk}:{commit.sha}:{ref.name}",
    )
