"""What a change request changes, as a unified diff of text files; other files are named only."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from hub.repos import trees
from hub.repos.models import Commit, Repo
from hub.repos.trees import File

MAX_FILE, MAX_FILES = 256 * 1024, 300
Words = Callable[[Repo, Commit, Commit], dict[str, list[str]]]
_words: list[Words] = []


def register_words(words: Words) -> None:
    """Let a higher room say what changed inside files that are no text: path → lines, written as comments."""
    _words.append(words)


def unified(repo: Repo, before: Commit, after: Commit) -> str:
    """The diff between two commits, in the form git prints. Long or binary files say only that they differ."""
    old, new = trees.flatten(repo, before.tree), trees.flatten(repo, after.tree)
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))[:MAX_FILES]
    left = trees.load_files(repo, {path: old[path] for path in paths if path in old})
    right = trees.load_files(repo, {path: new[path] for path in paths if path in new})
    said: dict[str, list[str]] = {}
    for words in _words:
        said |= words(repo, before, after)
    return "".join(
        _file(path, left.get(path), right.get(path)) + "".join(f"# {line}\n" for line in said.get(path, ()))
        for path in paths
    )


def _file(path: str, left: File | None, right: File | None) -> str:
    head = f"diff --git a/{path} b/{path}\n"
    if left is None:
        head += "new file mode 100644\n"
    if right is None:
        head += "deleted file mode 100644\n"
    before, after = _lines(left), _lines(right)
    names = (f"a/{path}" if left else "/dev/null", f"b/{path}" if right else "/dev/null")
    if before is None or after is None:
        return f"{head}Binary files {names[0]} and {names[1]} differ\n"
    lines = difflib.unified_diff(before, after, *names)
    return head + "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(file: File | None) -> list[str] | None:
    """The lines of a small text file, none for no file; None for what is not shown."""
    if file is None:
        return []
    if file.blob is not None or file.size > MAX_FILE:
        return None
    try:
        return file.data.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
