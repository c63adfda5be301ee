"""The past of a revision: which commit last changed a path, and how to leave the past behind."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable

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
    history = trees.log(repo, commit, limit=MAX_DEPTH)
    past = _past(repo, history, shas)
    found = {}
    for path, sha in shas.items():
        older = (number for number, then in enumerate(past[path]) if then != sha)
        found[path] = history[next(older, len(history)) - 1]
    return found


def _past(repo: Repo, history: list[Commit], paths: Iterable[str]) -> dict[str, list[str]]:
    """Path → its git id at each commit, "" where it is not there: one query for each level of folders."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        while path:
            folder, _, name = path.rpartition("/")
            wanted[folder].add(name)
            path = folder
    past = {"": [one.tree for one in history]}
    for _, level in itertools.groupby(sorted(wanted, key=_depth), key=_depth):
        folders = list(level)
        names = frozenset[str]().union(*(wanted[folder] for folder in folders))
        ids = {
            sha: {name: entry.sha for name, entry in entries.items() if name in names}
            for sha, entries in trees.read_trees(repo, {sha for folder in folders for sha in past[folder]})
        }
        for folder in folders:
            for name in wanted[folder]:
                past[f"{folder}/{name}".lstrip("/")] = [ids.get(sha, {}).get(name, "") for sha in past[folder]]
    return past


def _depth(folder: str) -> int:
    return len(folder.split("/")) if folder else 0


def squash(*, actor: Actor, repo: Repo, branch: str, message: str) -> Commit:
    """Replace a branch's past by one commit with the same files. Old commits stay readable by their sha.

    Raises Denied, RevisionNotFound (also for shas and for tags and change requests by their full refs).
    """
    rights.require(actor, Verb.WRITE, repo)
    full = full_ref(branch)
    if not full.startswith("refs/heads/") or not Ref.objects.filter(repo=repo, name=full).exists():
        raise trees.RevisionNotFound(f"{repo.full_name} has no branch '{branch[:80]}'.")
    head = trees.resolve_commit(repo, full)
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
