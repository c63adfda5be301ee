"""True git bytes through dulwich: ids and bodies of blobs, trees and commits, and LFS pointers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dulwich.objects import Blob as GitBlob
from dulwich.objects import Commit as GitCommit
from dulwich.objects import ObjectID, Tree

FILE_MODE, TREE_MODE = 0o100644, 0o040000
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n")


@dataclass(frozen=True)
class Entry:
    """One line of a tree: its name, git id, and whether it is a folder."""

    name: str
    sha: str
    is_folder: bool


def blob_sha(data: bytes) -> str:
    """Git's id of a file with these bytes."""
    return GitBlob.from_string(data).id.decode()


def pointer(sha256: str, size: int) -> bytes:
    """The LFS pointer that stands for a large file in a tree."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def parse_pointer(data: bytes) -> tuple[str, int] | None:
    """(sha256, size) if these bytes are an LFS pointer, else None."""
    match = _POINTER.fullmatch(data)
    return (match[1].decode(), int(match[2])) if match else None


def tree_bytes(entries: Mapping[str, Entry]) -> tuple[str, bytes]:
    """(id, body) of a tree."""
    tree = Tree()
    for entry in entries.values():
        tree.add(entry.name.encode(), TREE_MODE if entry.is_folder else FILE_MODE, ObjectID(entry.sha.encode()))
    return tree.id.decode(), tree.as_raw_string()


def parse_tree(data: bytes | memoryview) -> dict[str, Entry]:
    """Name → entry, in git's order."""
    tree = Tree.from_string(bytes(data))
    return {
        item.path.decode(): Entry(item.path.decode(), item.sha.decode(), item.mode == TREE_MODE)
        for item in tree.iteritems()
    }


def commit_bytes(*, tree: str, parents: list[str], author: str, message: str, at: datetime) -> tuple[str, bytes]:
    """(id, body) of a commit. Author and committer are one; times are UTC."""
    commit = GitCommit()
    commit.tree = ObjectID(tree.encode())
    commit.parents = [ObjectID(parent.encode()) for parent in parents]
    commit.author = commit.committer = author.encode()
    commit.author_time = commit.commit_time = int(at.timestamp())
    commit.author_timezone = commit.commit_timezone = 0
    commit.encoding = b"UTF-8"
    commit.message = message.encode()
    return commit.id.decode(), commit.as_raw_string()
