"""Text files changed by hand, as a browser does it: nobody's change is lost between opening a file and saving it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.changes import Change, Delete, Inline, Put
from hub.repos.commits import BadChange, Conflict, commit, full_ref, require_right
from hub.repos.models import DEFAULT_BRANCH, Commit, Repo

MOST_EDITED = 300_000
TRIES = 3
LOOKED_AT = 10_000


class NotText(Exception):
    """The file cannot be shown in a text field without changing it."""


class ChangedMeanwhile(Exception):
    """The file is not what it was when it was opened; nothing was written. `head` is the commit where it differs."""

    def __init__(self, path: str, head: Commit, *, gone: bool = False) -> None:
        who = head.author.name if head.author else "somebody"
        what = "removed or renamed" if gone else "changed"
        then = "Look at their version, take over what you want to keep, and save again: that replaces theirs."
        if gone:
            then = "Look at what changed; if it should be there all the same, save again."
        known = f"last commit: “{head.title}” by {who}"
        super().__init__(f"{path} was {what} while you had it open ({known}). Nothing was saved yet. {then}")
        self.head = head.sha


@dataclass(frozen=True)
class Edit:
    """What a person made of a file.

    `opened` is its path when they opened it and `seen` its git id then, both empty for a new file; `path` and `text`
    are what they left, `text` None removes the file.
    """

    path: str
    text: str | None
    opened: str = ""
    seen: str = ""


def text_of(file: trees.File) -> str:
    """The text of a file as a text field can hold it. Raises NotText, StoreError."""
    if file.size > MOST_EDITED:
        raise NotText(f"{file.path} is larger than {MOST_EDITED // 1000} kB: edit it on your machine and upload it.")
    try:
        text = file.read().decode()
    except UnicodeDecodeError:
        raise NotText(f"{file.path} is not text in UTF-8: edit it on your machine and upload it.") from None
    if "\0" in text:
        raise NotText(f"{file.path} is not text: edit it on your machine and upload it.")
    return text


def git_id(repo: Repo, commit_: Commit | None, path: str) -> str:
    """The git id of a file at a commit; empty if there is none."""
    try:
        return trees.find(repo, commit_, path).sha if commit_ and path else ""
    except trees.EntryNotFound:
        return ""


def changes_of(repo: Repo, head: Commit | None, edit: Edit) -> Sequence[Change]:
    """The edit as changes on top of `head` (None: nothing was committed yet).

    Raises ChangedMeanwhile if the file is not what was opened, BadChange if there is another file of the new name.
    """
    path = edit.path
    now = git_id(repo, head, edit.opened)
    if head and edit.opened and now != edit.seen:
        raise ChangedMeanwhile(edit.opened, head, gone=not now)
    if edit.text is None:
        return [Delete(edit.opened)]
    if path != edit.opened and git_id(repo, head, path):
        raise BadChange(f"There is a file {path} already. Choose another name, or open that one to change it.")
    if head is None or not edit.seen:
        return [Put(path, Inline(edit.text.replace("\r\n", "\n").encode()))]
    put = Put(path, Inline(with_ends_of(trees.get_file(repo, head, edit.opened), edit.text).encode()))
    return [put] if path == edit.opened else [Delete(edit.opened), put]


def with_ends_of(file: trees.File, text: str) -> str:
    """A text as a browser sends it, each line's end CR LF, with the ends that this file has. Raises StoreError."""
    lines = text.replace("\r\n", "\n")
    return lines.replace("\n", "\r\n") if b"\r\n" in b"".join(file.stream(0, LOOKED_AT)) else lines


def save(*, actor: Actor, repo: Repo, branch: str, edit: Edit, message: str) -> Commit:
    """Commit an edit to a branch, on top of whatever was committed meanwhile to other files.

    Raises ChangedMeanwhile, and what `commits.commit` raises.
    """
    full = full_ref(branch)
    require_right(actor, repo, full)
    left = TRIES
    while True:
        head = trees.resolve_commit(repo, full) if repo.head or full != full_ref(DEFAULT_BRANCH) else None
        changes, parent = changes_of(repo, head, edit), head.sha if head else None
        try:
            return commit(actor=actor, repo=repo, changes_=changes, message=message, branch=full, parent=parent)
        except Conflict:
            left -= 1
            if not left:
                raise
