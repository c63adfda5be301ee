"""What a change request changes, as a unified diff of text files; other files are named only."""

from __future__ import annotations

from collections.abc import Callable

from hub.repos import lines, trees
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
    work = lines.Work()
    return "".join(
        _file(path, left.get(path), right.get(path), work) + "".join(f"# {line}\n" for line in said.get(path, ()))
        for path in paths
    )


def _file(path: str, left: File | None, right: File | None, work: lines.Work) -> str:
    head = f"diff --git a/{path} b/{path}\n"
    if left is None:
        head += "new file mode 100644\n"
    if right is None:
        head += "deleted file mode 100644\n"
    old, new = (f"a/{path}" if left else "/dev/null", f"b/{path}" if right else "/dev/null")
    if any(file.blob is not None or file.size > MAX_FILE for file in (left, right) if file):
        return f"{head}Binary files {old} and {new} differ\n"
    try:
        changed = lines.hunks(left.data if left else b"", right.data if right else b"", work, keepends=True)
    except UnicodeDecodeError:
        return f"{head}Binary files {old} and {new} differ\n"
    except lines.TooLong:
        return f"{head}Files {old} and {new} differ, {lines.TOO_LONG}\n"
    if changed:
        head += f"--- {old}\n+++ {new}\n"
    return head + "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in changed
    )
