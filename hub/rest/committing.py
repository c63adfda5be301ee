"""From the body of a commit to changes, and through the one door: onto a branch, or as a change request."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from hub import rights
from hub.accounts.actor import Actor
from hub.repos import commits, uploading
from hub.repos.changes import Change, Delete, DeleteFolder, Inline, Put, Stored
from hub.repos.commits import BadChange
from hub.repos.models import Commit, Repo
from hub.review import change_requests
from hub.review.models import ChangeRequest
from hub.rights import Verb
from hub.store import blobs
from hub.store.models import Blob, Upload

SOURCES = ("content", "content_base64", "upload", "sha256")


@dataclass(frozen=True)
class Made:
    """What a request to commit made: a commit on a branch, or a change request with that commit."""

    commit: Commit
    request: ChangeRequest | None = None


def carry_out(actor: Actor, repo: Repo, asked: dict[str, Any]) -> Made:
    """Commit what was asked for.

    Raises Denied, Refused, BadChange, Conflict, RevisionNotFound, StoreError, WrongBytes.
    """
    ref = commits.full_ref(asked["branch"])
    proposing = asked["change_request"]
    if proposing:
        rights.require(actor, Verb.PROPOSE, repo)
    else:
        commits.require_right(actor, repo, ref)
    wanted = [put_of(actor, repo, row) for row in asked["files"]] + [_delete(path) for path in asked["deletes"]]
    if not wanted:
        raise BadChange("Name at least one file to write or to delete.")
    parent = asked["parent"] or None
    if proposing:
        commits.begin(actor=actor, repo=repo)
        request, made = change_requests.propose(
            actor=actor, repo=repo, changes_=wanted, title=asked["message"], description=asked["description"],
            target=asked["branch"], base=parent,
        )  # fmt: skip
        return Made(made, request)
    message = f"{asked['message']}\n\n{asked['description']}".strip()
    return Made(commits.commit(actor=actor, repo=repo, changes_=wanted, message=message, branch=ref, parent=parent))


def put_of(actor: Actor, repo: Repo, row: dict[str, Any]) -> Put:
    """One file of a body, with bytes that this actor may commit. Raises BadChange, WrongBytes, StoreError."""
    path = row["path"]
    given = [name for name in SOURCES if row.get(name) is not None]
    if len(given) != 1:
        raise BadChange(f"{path}: give exactly one of {', '.join(SOURCES)}.")
    if given == ["content"]:
        return Put(path, Inline(row["content"].encode()))
    if given == ["content_base64"]:
        return Put(path, Inline(_decoded(path, row["content_base64"])))
    blob = _uploaded(actor, repo, row)
    if blob is None:
        raise BadChange(f"{path}: these bytes have not arrived; announce and finish an upload first.")
    return Put(path, Stored(blob))


def _uploaded(actor: Actor, repo: Repo, row: dict[str, Any]) -> Blob | None:
    """The blob of a finished upload of this actor for this repo, or of bytes the actor may read."""
    if row.get("sha256") is not None:
        return uploading.usable(actor, repo, row["sha256"])
    mine = Upload.objects.filter(account=actor.account, repo_key=repo.pk.hex)
    upload = mine.filter(pk=row["upload"]).exclude(finished_at=None).first()
    return blobs.present(upload.sha256) if upload else None


def _decoded(path: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadChange(f"{path}: content_base64 is not valid base64.") from error


def _delete(path: str) -> Change:
    return DeleteFolder(path) if path.endswith("/") else Delete(path)
