"""Files that a change request and its target both changed: somebody says what each becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.changes import Content, Inline, Stored
from hub.repos.editing import with_ends_of
from hub.repos.models import Commit
from hub.review import merging
from hub.review.models import ChangeRequest
from hub.review.refusals import NotPossible
from hub.review.updating import bring_up_to_date


@dataclass(frozen=True)
class Choice:
    """What a file becomes: the target's version (`ours`), the proposal's (`theirs`), or a text of one's own."""

    take: Literal["ours", "theirs", "text"]
    text: str = ""


def resolve(
    *, actor: Actor, request: ChangeRequest, ours: Commit, theirs: Commit, choices: Mapping[str, Choice]
) -> Commit:
    """Merge the target's commit `ours` into the change request at `theirs`, as chosen for each file in conflict.

    Raises NotPossible for a file left undecided or with marks of a conflict in it, and as `bring_up_to_date`.
    """
    resolved: dict[str, Content | None] = {}
    for side in merging.conflicting(request, ours, theirs):
        choice = choices.get(side.path)
        if choice is None:
            raise NotPossible(f"Choose a version of {side.path}.")
        if choice.take != "text":
            resolved[side.path] = _version(request, ours if choice.take == "ours" else theirs, side.path)
        elif merging.has_markers(choice.text):
            raise NotPossible(
                f"{side.path} still has lines that begin with <<<<<<< or >>>>>>>: decide and remove them."
            )
        else:
            file = trees.get_file(request.repo, ours if side.ours else theirs, side.path)
            resolved[side.path] = Inline(with_ends_of(file, choice.text).encode())
    message = f"Merge {request.target.removeprefix('refs/heads/')} into change request #{request.number}"
    return bring_up_to_date(
        actor=actor, request=request, ours=ours.sha, theirs=theirs.sha, resolved=resolved, message=message
    )


def _version(request: ChangeRequest, side: Commit, path: str) -> Content | None:
    """A side's version of a file; None where it has none."""
    try:
        file = trees.get_file(request.repo, side, path)
    except trees.EntryNotFound:
        return None
    return Stored(file.blob) if file.blob else Inline(file.data)
