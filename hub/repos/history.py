"""The past of a revision: which commit last changed a path, and how to leave the past behind."""

from __future__ import annotations

from hub import rights
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.commits import commit_squash, full_ref
from hub.repos.models import Commit, Ref, Repo
from hub.rights import Verb

MAX_DEPTH = 200
"""How many commits back a path's last change is looked for; older ones show the oldest commit looked at."""


def last_commits(repo: Repo, commit: Commit, shas: dict[str, str]) -> dict[str, Commit]:
    """Path → the commit (first parents only) that gave it the git id it has now. Folders are paths too."""
    found: dict[str, Commit] = {}
    open_paths = dict(shas)
    history = trees.log(repo, commit, limit=MAX_DEPTH)
    for newer, older in zip(history, [*history[1:], None], strict=True):
        if not open_paths:
            break
        folders, files = trees.walk(repo, older.tree) if older else ({}, {})
        for path, sha in list(open_paths.items()):
            if (files.get(path) or folders.get(path)) != sha or older is None:
                found[path] = newer
                del open_paths[path]
    return found


def squash(*, actor: Actor, repo: Repo, branch: str, message: str) -> Commit:
    """Replace a branch's past by one commit with the same files. Old commits stay readable by their sha.

    Raises Denied, RevisionNotFound (also for tags and shas).
    """
    rights.require(actor, Verb.WRITE, repo)
    if not Ref.objects.filter(repo=repo, name=full_ref(branch)).exists():
        raise trees.RevisionNotFound(f"{repo.full_name} has no branch '{branch[:80]}'.")
    head = trees.resolve_commit(repo, full_ref(branch))
    return commit_squash(author=actor.account, repo=repo, branch=branch, head=head.sha, message=message)


def changed_files(repo: Repo, commit: Commit) -> list[dict[str, str]]:
    """What a commit did to its first parent's files: {path, status}, status added, removed or changed."""
    parent = Commit.objects.filter(repo=repo, sha=commit.parents[0]).first() if commit.parents else None
    old = trees.flatten(repo, parent.tree) if parent else {}
    new = trees.flatten(repo, commit.tree)
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    return [
        {"path": path, "status": "added" if path not in old else "removed" if path not in new else "changed"}
        for path in paths
    ]
