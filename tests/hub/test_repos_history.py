"""Which commit last changed a path: the same answer as git's own, in few queries."""

import random
import subprocess
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.accounts.actor import actor_for
from hub.repos import trees
from hub.repos.changes import Change, Delete, Inline, Put
from hub.repos.commits import commit
from hub.repos.history import last_commits
from hub.repos.models import GitObject, Repo
from tests.people import People, make_repo

PATHS = ("README.md", "a.txt", "docs/one.md", "docs/deep/two.md", "docs/deep/three.md", "other/x.json")


def git_knows(repo: Repo, folder: Path, head: str) -> None:
    """A git repository with the objects of a hub's."""
    subprocess.run(["git", "init", "-q", folder], check=True)
    for row in GitObject.objects.filter(repo=repo):
        write = ["git", "-C", str(folder), "hash-object", "-w", "-t", row.kind, "--stdin"]
        subprocess.run(write, input=bytes(row.data), capture_output=True, check=True)
    subprocess.run(["git", "-C", str(folder), "update-ref", "refs/heads/main", head], check=True)


@pytest.mark.parametrize("seed", range(3))
def test_every_path_has_the_commit_that_git_log_names(people: People, tmp_path: Path, seed: int) -> None:
    draw, repo = random.Random(seed), make_repo(people.alice, "x")
    there: set[str] = set()
    for number in range(12):
        chosen = draw.sample(PATHS, 2)
        gone = [path for path in chosen if path in there and draw.random() < 0.3]
        changes: list[Change] = [
            Delete(path) if path in gone else Put(path, Inline(f'"{number} {path}"'.encode())) for path in chosen
        ]
        there = (there | set(chosen)) - set(gone)
        commit(actor=actor_for(people.alice), repo=repo, changes_=changes, message=f"Commit {number}")
    head = trees.resolve_commit(repo)
    folders, files = trees.walk(repo, head.tree)
    git_knows(repo, tmp_path, head.sha)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = last_commits(repo, head, folders | files)
    assert len(queries) <= 5  # who follows whom, the commits, and one for each level of folders
    for path in folders | files:
        log = ["git", "-C", str(tmp_path), "log", "-1", "--format=%H", "main", "--", path]
        named = subprocess.run(log, capture_output=True, text=True, check=True).stdout.strip()
        assert found[path].sha == named, path
