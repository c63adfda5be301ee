"""What changed between two revisions: files from git ids at once, tensors by the job `adapters.compare`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from adapters.catalog import local
from adapters.diffs import compare, summary
from adapters.models import Comparison
from hub.accounts.actor import Actor
from hub.jobs.models import Job
from hub.jobs.queue import enqueue
from hub.jobs.running import Running
from hub.repos import trees
from hub.repos.models import Commit, Repo
from hub.store.models import Blob

MAX_TEXT = 200_000


@dataclass(frozen=True)
class FileChange:
    """One path on both sides; `status` is added, removed, changed or unchanged."""

    path: str
    status: str
    left: trees.File | None
    right: trees.File | None

    @property
    def is_weights(self) -> bool:
        return self.path.endswith(local.WEIGHTS)

    @property
    def text(self) -> list[str]:
        """A unified diff of small text files; empty for others."""
        sides = [side for side in (self.left, self.right) if side]
        if self.status == "unchanged" or any(side.blob or side.size > MAX_TEXT for side in sides):
            return []
        old, new = (_lines(side) for side in (self.left, self.right))
        return list(difflib.unified_diff(old, new, "before", "after", lineterm=""))[2:]


def _lines(side: trees.File | None) -> list[str]:
    return side.data.decode(errors="replace").splitlines() if side else []


def compare_files(left_repo: Repo, left: Commit, right_repo: Repo, right: Commit) -> list[FileChange]:
    """Every path of either revision, changed ones first."""
    old, new = trees.list_files(left_repo, left), trees.list_files(right_repo, right)
    changes = [FileChange(path, _status(old.get(path), new.get(path)), old.get(path), new.get(path))
               for path in sorted(old.keys() | new.keys())]  # fmt: skip
    return sorted(changes, key=lambda change: (change.status == "unchanged", change.path))


def _status(old: trees.File | None, new: trees.File | None) -> str:
    if old is None or new is None:
        return "added" if old is None else "removed"
    return "unchanged" if old.sha == new.sha else "changed"


def tensor_changes(
    changes: list[FileChange], actor: Actor, repo: Repo
) -> Iterator[tuple[FileChange, Comparison | None, Job | None]]:
    """For each changed weights file: its comparison if there is one, else the job that makes it (for known people)."""
    for change in changes:
        if not (change.is_weights and change.status == "changed" and change.left and change.right):
            continue
        if change.left.blob is None or change.right.blob is None:
            continue
        left, right = change.left.blob.sha256, change.right.blob.sha256
        comparison = Comparison.objects.filter(left=left, right=right).first()
        yield change, comparison, _queue(left, right, actor, repo) if comparison is None and actor.is_known else None


def _queue(left: str, right: str, actor: Actor, repo: Repo) -> Job:
    return enqueue(
        "adapters.compare",
        title=f"Compare weights of {repo.full_name}",
        arguments={"left": left, "right": right},
        owner=actor.account,
        repo=repo,
        key=f"compare:{repo.pk}:{left}:{right}",
    )


def run(running: Running) -> dict[str, Any]:
    """The job: compare two safetensors files tensor by tensor and keep the result by their hashes."""
    left, right = running.arguments["left"], running.arguments["right"]
    paths = [local.cached(Blob.objects.get(pk=sha256)) for sha256 in (left, right)]
    changes = compare(*paths)
    with running.adopt():
        Comparison.objects.update_or_create(
            left=left, right=right,
            defaults={"changes": [asdict(change) for change in changes], "summary": summary(changes)[:500]},
        )  # fmt: skip
    return {"tensors": len(changes)}
