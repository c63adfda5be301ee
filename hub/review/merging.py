"""Two sides of a change request become one: by path, and texts that both changed by their lines."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from io import StringIO

from merge3 import Merge3

from hub.repos import cards, trees
from hub.repos.changes import Inline, Put, candidate
from hub.repos.editing import NotText, text_of
from hub.repos.models import Commit, Repo
from hub.repos.policy import Refused
from hub.review.models import ChangeRequest
from hub.review.refusals import MergeConflict

Shas = tuple[str | None, str | None, str | None]
"""Git ids of one file: where both began, on the target, as proposed; None where there is none."""

# Files whose lines mean something each for itself; of others (JSON, code) lines from two sides may not fit together.
BY_LINES = (".md", ".txt", ".csv", ".tsv", ".jsonl")
MARKERS = ("<<<<<<<", "=======", ">>>>>>>")


@dataclass(frozen=True)
class Merged:
    """What both sides become: path → git id, and the texts that lines of both made."""

    files: dict[str, str]
    puts: tuple[Put, ...] = ()


@dataclass(frozen=True)
class Sides:
    """A file in conflict: do the target (`ours`) and the proposal (`theirs`) have it?

    `text` holds what both agree on, with the places in conflict marked; None where it cannot be edited as text.
    """

    path: str
    ours: bool
    theirs: bool
    text: str | None


def merged(request: ChangeRequest, ours: Commit, theirs: Commit, resolved: Collection[str] = ()) -> Merged:
    """A three-way merge of the target's commit `ours` and the proposal's `theirs`, of one repo.

    A file that only one side changed is that side's; a text that both changed is merged by lines where those lie apart.
    Raises MergeConflict for other paths that both changed and nobody `resolved`.
    """
    repo = request.repo
    base = trees.resolve_commit(repo, request.base)
    before, left, right = (trees.flatten(repo, side.tree) for side in (base, ours, theirs))
    files, puts, conflicts = dict(left), [], []
    for path in sorted(before.keys() | left.keys() | right.keys()):
        old, mine, yours = before.get(path), left.get(path), right.get(path)
        if yours == old or mine == yours:
            continue
        if mine == old and yours is None:
            files.pop(path, None)
        elif mine == old:
            files[path] = str(yours)
        elif path not in resolved:
            text = _by_lines(repo, path, (old, mine, yours))
            if text is None:
                conflicts.append(path)
            else:
                puts.append(Put(path, Inline(text.encode())))
    if conflicts:
        raise MergeConflict(conflicts)
    return Merged(files, tuple(puts))


def conflicts(request: ChangeRequest) -> list[str]:
    """Paths that both sides changed so that somebody must decide; empty if it would merge."""
    repo = request.repo
    return _conflicts(request, trees.resolve_commit(repo, request.target), trees.resolve_commit(repo, request.ref))


def _conflicts(request: ChangeRequest, ours: Commit, theirs: Commit) -> list[str]:
    try:
        merged(request, ours, theirs)
    except MergeConflict as error:
        return error.paths
    return []


def conflicting(request: ChangeRequest, ours: Commit, theirs: Commit) -> list[Sides]:
    """Each file in conflict as a person decides it."""
    paths = _conflicts(request, ours, theirs)
    base = trees.resolve_commit(request.repo, request.base)
    before, left, right = (trees.flatten(request.repo, side.tree) for side in (base, ours, theirs))
    names = request.target.removeprefix("refs/heads/"), f"change request {request.number}"
    return [_sides(request.repo, path, (before.get(path), left.get(path), right.get(path)), names) for path in paths]


def _sides(repo: Repo, path: str, shas: Shas, names: tuple[str, str]) -> Sides:
    """Both sides of one file; its text where both have one, the target's lines before the proposal's."""
    _, mine, yours = shas
    texts = _texts(repo, shas) if mine and yours else None
    if texts is None:
        return Sides(path, mine is not None, yours is not None, None)
    original, left, right = ([line.rstrip("\r\n") + "\n" for line in lines] for lines in texts)
    return Sides(path, True, True, "".join(Merge3(original, left, right).merge_lines(*names, None, *MARKERS)))


def has_markers(text: str) -> bool:
    """Was a place in conflict left as it was?"""
    return any(line.startswith((MARKERS[0], MARKERS[2])) for line in text.splitlines())


def by_lines(original: list[str], ours: list[str], theirs: list[str]) -> str | None:
    """The changes of both sides to a text, as one text; None where they meet."""
    groups = list(Merge3(original, ours, theirs).merge_groups())
    if any(group[0] == "conflict" for group in groups):
        return None
    return "".join(line for group in groups for line in group[1])


def _by_lines(repo: Repo, path: str, shas: Shas) -> str | None:
    """The text with the lines of both sides; None where they meet, or where this is no text to be merged by lines."""
    if not path.lower().endswith(BY_LINES) or None in shas:
        return None
    texts = _texts(repo, shas)
    if texts is None:
        return None
    text = by_lines(*texts)
    if text is None:
        return None
    try:
        if path.lower() == "readme.md":
            cards.check(path, candidate(Put(path, Inline(text.encode()))))
    except Refused:
        return None
    return text


def _texts(repo: Repo, shas: Shas) -> tuple[list[str], list[str], list[str]] | None:
    """The lines of original, ours and theirs ([] where there is no file); None if one is not text."""
    found = trees.load_files(repo, {sha: sha for sha in shas if sha})
    try:
        original, ours, theirs = (_lines(text_of(found[sha])) if sha else [] for sha in shas)
    except NotText:
        return None
    return original, ours, theirs


def _lines(text: str) -> list[str]:
    """Lines with their ends, as git counts them: only a line feed ends one."""
    return StringIO(text, newline="\n").readlines()
