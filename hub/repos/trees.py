"""Reading a revision: names to commits, paths to files, folders to listings. Two or three queries each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hub.repos.gitformat import Entry, parse_tree
from hub.repos.models import DEFAULT_BRANCH, Commit, GitObject, ObjectKind, Ref, Repo
from hub.store import reading
from hub.store.models import Blob

_SHA = re.compile(r"[0-9a-f]{7,40}")
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
WHOLE_LOG = 1_000_000
"""A limit of `log` beyond any history."""


class RevisionNotFound(Exception):
    """No branch, tag, change request or commit of that name in this repo."""


class EntryNotFound(Exception):
    """No file or folder of that path at this revision."""


@dataclass(frozen=True)
class File:
    """A file at a revision. `blob` is set for large files; small ones have their bytes in `data`."""

    path: str
    sha: str
    size: int
    blob: Blob | None
    data: bytes

    @property
    def etag(self) -> str:
        """Public identity on the wire: sha256 of a large file, git id of a small one."""
        return self.blob.sha256 if self.blob else self.sha

    def read(self) -> bytes:
        """All bytes. Raises StoreError."""
        return self.data if self.blob is None else b"".join(reading.stream(self.blob))

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive), in chunks. Raises StoreError."""
        if self.blob is None:
            yield self.data[start:end]
        else:
            yield from reading.stream(self.blob, start, end)


@dataclass(frozen=True)
class Listed:
    """A file in a listing: what is known without its bytes. `sha256` is set for large files, `xet` if in chunks."""

    path: str
    sha: str
    size: int
    sha256: str | None
    xet: str | None = None


@dataclass(frozen=True)
class Folder:
    """A folder at a revision."""

    path: str
    sha: str


def resolve_ref(repo: Repo, name: str) -> Ref | None:
    """The ref a revision names: a full ref, a branch, or a tag (in this order)."""
    candidates = [name] if name.startswith("refs/") else [f"refs/heads/{name}", f"refs/tags/{name}"]
    found = {ref.name: ref for ref in Ref.objects.filter(repo=repo, name__in=candidates)}
    return next((found[full] for full in candidates if full in found), None)


def resolve_commit(repo: Repo, revision: str | None = None) -> Commit:
    """The commit a revision names. Raises RevisionNotFound."""
    revision = revision or DEFAULT_BRANCH
    if _SHA.fullmatch(revision):  # no branch or tag may be named like this
        exact = {"sha": revision} if len(revision) == 40 else {"sha__startswith": revision}
        commit = Commit.objects.filter(repo=repo, **exact).first()
    else:
        ref = resolve_ref(repo, revision)
        commit = Commit.objects.filter(repo=repo, sha=ref.target).first() if ref else None
    if commit is None:
        raise RevisionNotFound(f"{repo.full_name} has no revision '{revision[:80]}'.")
    return commit


def read_tree(repo: Repo, sha: str) -> dict[str, Entry]:
    """The entries of one tree object."""
    if sha == EMPTY_TREE:
        return {}
    return parse_tree(GitObject.objects.values_list("data", flat=True).get(repo=repo, sha=sha))


def read_trees(repo: Repo, shas: set[str]) -> Iterator[tuple[str, dict[str, Entry]]]:
    """(git id, entries) of those that are trees, one after the other, in one query."""
    rows = GitObject.objects.filter(repo=repo, sha__in=shas, kind=ObjectKind.TREE).values_list("sha", "data")
    return ((sha, parse_tree(data)) for sha, data in rows)


def find(repo: Repo, commit: Commit, path: str) -> Entry:
    """The tree entry at a path. Raises EntryNotFound."""
    tree, entry = commit.tree, None
    for name in path.split("/"):
        if entry is not None and not entry.is_folder:
            raise EntryNotFound(f"{path[:255]} is not in {repo.full_name} at {commit.short}.")
        entry = read_tree(repo, tree).get(name)
        if entry is None:
            raise EntryNotFound(f"{path[:255]} is not in {repo.full_name} at {commit.short}.")
        tree = entry.sha
    assert entry is not None
    return entry


def get_file(repo: Repo, commit: Commit, path: str) -> File:
    """One file. Raises EntryNotFound, also for a folder."""
    entry = find(repo, commit, path)
    if entry.is_folder:
        raise EntryNotFound(f"{path[:255]} is a folder in {repo.full_name} at {commit.short}.")
    return load_files(repo, {path: entry.sha})[path]


def load_files(repo: Repo, shas: dict[str, str]) -> dict[str, File]:
    """Path → File for path → git id, in one query."""
    rows = {
        row.sha: row
        for row in GitObject.objects.select_related("large").filter(repo=repo, sha__in=set(shas.values()), kind="blob")
    }
    return {
        path: File(
            path=path,
            sha=sha,
            size=rows[sha].size,
            blob=rows[sha].large,
            data=b"" if rows[sha].large_id else bytes(rows[sha].data),
        )
        for path, sha in shas.items()
    }


def flatten(repo: Repo, tree: str) -> dict[str, str]:
    """Path → git id of every file below a tree: one query for each level of folders."""
    return walk(repo, tree)[1]


def walk(repo: Repo, tree: str) -> tuple[dict[str, str], dict[str, str]]:
    """Path → git id of every folder, and of every file, below a tree: one query for each level of folders."""
    folders: dict[str, str] = {}
    files: dict[str, str] = {}
    level = {"": tree}
    while level:
        bodies = dict(read_trees(repo, set(level.values())))
        deeper: dict[str, str] = {}
        for prefix, sha in level.items():
            for entry in bodies[sha].values() if sha != EMPTY_TREE else ():
                (deeper if entry.is_folder else files)[prefix + entry.name + ("/" if entry.is_folder else "")] = (
                    entry.sha
                )
        folders.update({path.rstrip("/"): sha for path, sha in deeper.items()})
        level = deeper
    return folders, dict(sorted(files.items()))


def describe(repo: Repo, shas: dict[str, str]) -> list[Listed]:
    """Path → git id as a listing, in one query that reads no file's bytes."""
    found = GitObject.objects.filter(repo=repo, sha__in=set(shas.values()), kind="blob")
    wanted = ("sha", "size", "large_id", "large__xet_hash", "large__chunks_dropped_at")
    rows = {
        sha: (size, sha256, None if dropped else xet)
        for sha, size, sha256, xet, dropped in found.values_list(*wanted)
    }  # fmt: skip
    return [Listed(path, sha, *rows[sha]) for path, sha in shas.items()]


def list_files(repo: Repo, commit: Commit) -> dict[str, File]:
    """Every file of a revision, by path."""
    return load_files(repo, flatten(repo, commit.tree))


def list_folder(repo: Repo, commit: Commit, path: str = "") -> tuple[list[Folder], list[File]]:
    """What is directly in a folder. Raises EntryNotFound if it is no folder."""
    tree = commit.tree
    if path:
        entry = find(repo, commit, path)
        if not entry.is_folder:
            raise EntryNotFound(f"{path[:255]} is a file in {repo.full_name} at {commit.short}.")
        tree = entry.sha
    prefix = f"{path}/" if path else ""
    entries = read_tree(repo, tree)
    folders = [Folder(prefix + entry.name, entry.sha) for entry in entries.values() if entry.is_folder]
    shas = {prefix + entry.name: entry.sha for entry in entries.values() if not entry.is_folder}
    return folders, list(load_files(repo, shas).values())


def log(repo: Repo, commit: Commit, limit: int = 50, skip: int = 0) -> list[Commit]:
    """First-parent history from a commit, newest first; of the commits outside the page only ids are read."""
    parents = dict(Commit.objects.filter(repo=repo).values_list("sha", "parents"))
    history: list[str] = []
    current = commit.sha
    while current in parents and len(history) < skip + limit:
        history.append(current)
        current = parents[current][0] if parents[current] else ""
    page = history[skip:]
    rows = {row.sha: row for row in Commit.objects.select_related("author").filter(repo=repo, sha__in=page)}
    return [rows[sha] for sha in page]
