"""The past of a revision: which commit last changed a path, and a page of the log without reading all of it."""

from __future__ import annotations

from hub.repos import trees
from hub.repos.models import Commit, Repo

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
