"""What happens here when a commit is published: a `fast` job inspects it, once."""

from hub.jobs.queue import enqueue
from hub.repos.models import Commit, Ref, Repo


def on_commit(repo: Repo, commit: Commit, ref: Ref) -> None:
    """Queue the inspection of a commit, in the commit's own transaction."""
    enqueue(
        "adapters.inspect",
        title=f"Inspect {repo.full_name} at {commit.short}",
        arguments={"repo": str(repo.pk), "sha": commit.sha, "ref": ref.name},
        owner=commit.author,
        repo=repo,
        key=f"inspect:{repo.pk}:{commit.sha}:{ref.name}",
    )
