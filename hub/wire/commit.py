"""A commit by the client: its body becomes changes, and the one commit function decides."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.http import HttpResponse, JsonResponse

from hub import rights
from hub.numerals import whole
from hub.repos import changes as repo_changes
from hub.repos import commits, uploading
from hub.repos.changes import Change, Delete, DeleteFolder, Inline, OnDisk, Put, Stored
from hub.repos.models import ZERO_SHA, Commit, Repo
from hub.review import change_requests
from hub.review.models import ChangeRequest
from hub.rights import Verb
from hub.wire import ndjson
from hub.wire.asking import WireRequest, door, find_repo, flag, repo_url, require_account
from hub.wire.errors import WireError

_SHA = re.compile(r"[0-9a-f]{7,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass
class Asked:
    """What a body asks for."""

    summary: str = ""
    description: str = ""
    parent: str | None = None
    changes: list[Change] = field(default_factory=list)

    @property
    def message(self) -> str:
        return f"{self.summary}\n\n{self.description}".strip()


@door("POST", limit="write")
def commit(request: WireRequest, repokind: str, owner: str, name: str, revision: str) -> HttpResponse:
    """`POST /api/{T}/{R}/commit/{rev}[?create_pr=1]`. The body is never held in memory."""
    require_account(request)
    repo = find_repo(request, repokind, owner, name)
    proposing = flag(request.GET.get("create_pr"))
    rights.require(request.actor, Verb.PROPOSE, repo)
    if not proposing:
        commits.require_right(request.actor, repo, commits.full_ref(revision))
    with repo_changes.scratch() as folder:
        asked = _read(request, repo, Path(folder))
        made, proposed = _make(request, repo, asked, revision, proposing=proposing)
    address = repo_url(request, repo)
    answer = {"success": True, "commitOid": made.sha, "commitUrl": f"{address}/commit/{made.sha}", "hookOutput": ""}
    if proposed:
        answer["pullRequestUrl"] = f"{address}/discussions/{proposed.number}"
    return JsonResponse(answer)


def _make(
    request: WireRequest, repo: Repo, asked: Asked, revision: str, *, proposing: bool
) -> tuple[Commit, ChangeRequest | None]:
    parent = _whole_sha(repo, asked.parent)
    if proposing:
        commits.begin(actor=request.actor, repo=repo)
        proposed, made = change_requests.propose(
            actor=request.actor, repo=repo, changes_=asked.changes, title=asked.summary,
            description=asked.description, target=revision, base=parent,
        )  # fmt: skip
        return made, proposed
    made = commits.commit(
        actor=request.actor, repo=repo, changes_=asked.changes, message=asked.message, branch=revision, parent=parent
    )
    return made, None


def _read(request: WireRequest, repo: Repo, folder: Path) -> Asked:
    """Every line of the body. Raises WireError."""
    limits, asked = settings.LIMITS, Asked()
    if (whole(request.META.get("CONTENT_LENGTH"), most=2**62) or 0) > limits["commit_bytes"]:
        raise WireError(413, "The commit is too large for one request; commit fewer files at a time.")
    reader = ndjson.Reader(
        ndjson.source_of(request.META, cast("BinaryIO", request)),
        folder,
        body_limit=limits["commit_bytes"],
        file_limit=limits["regular_bytes"],
    )
    try:
        for row in reader:
            _take(request, repo, asked, row)
            if len(asked.changes) > limits["commit_files"]:
                raise WireError(413, f"A commit may change {limits['commit_files']} files at most; split it.")
    except ndjson.BadBody as error:
        raise WireError(400, str(error)) from error
    except ndjson.TooLarge as error:
        raise WireError(413, str(error)) from error
    return asked


def _take(request: WireRequest, repo: Repo, asked: Asked, row: dict[str, Any]) -> None:
    """One line: a header or a change. Unknown keys are for newer servers and change nothing here."""
    key, value = row.get("key"), row.get("value")
    if not isinstance(value, dict):
        raise WireError(400, "Every line of a commit has a 'key' and an object as 'value'.")
    if key == "header":
        asked.summary = _text(value, "summary")[:300]
        asked.description = _text(value, "description")[:20_000]
        asked.parent = _text(value, "parentCommit") or None
    elif key == "file":
        asked.changes.append(Put(_text(value, "path"), _content(value)))
    elif key == "lfsFile":
        asked.changes.append(Put(_text(value, "path"), _stored(request, repo, value)))
    elif key == "deletedFile":
        asked.changes.append(Delete(_text(value, "path")))
    elif key == "deletedFolder":
        asked.changes.append(DeleteFolder(_text(value, "path")))
    else:
        raise WireError(400, f"'{str(key)[:40]}' is nothing that a commit can do here.")


def _content(value: dict[str, Any]) -> Inline | OnDisk:
    """The bytes of a `file` line."""
    content = value.get("content", "")
    if isinstance(content, ndjson.Spilled):
        return OnDisk(Path(content))
    if not isinstance(content, str):
        raise WireError(400, "The content of a file must be a text.")
    if value.get("encoding", "base64") == "utf-8":
        return Inline(_encoded(content, "content"))
    return Inline(ndjson.decode(content))


def _encoded(text: str, key: str) -> bytes:
    """A text of the body in UTF-8. JSON can write half of a surrogate pair, which has none. Raises WireError (400)."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise WireError(400, f"'{key}' of a commit has half of a surrogate pair, which is no text.") from error


def _stored(request: WireRequest, repo: Repo, value: dict[str, Any]) -> Stored:
    """The blob of an `lfsFile` line: uploaded by this actor for this repo, or in a repo they may read."""
    oid, size = _text(value, "oid"), value.get("size")
    if _text(value, "algo", "sha256") != "sha256" or not _SHA256.fullmatch(oid):
        raise WireError(400, "An lfsFile names the sha256 of its bytes, in 64 lower-case hex digits.")
    blob = uploading.usable(request.actor, repo, oid)
    if blob is None:
        raise WireError(400, f"The LFS object {oid} of {_text(value, 'path')[:200]} was not uploaded; upload it first.")
    if size is not None and size != blob.size:
        raise WireError(400, f"The LFS object {oid} has {blob.size} bytes, not {str(size)[:20]}.")
    return Stored(blob)


def _whole_sha(repo: Repo, parent: str | None) -> str | None:
    """The parent the client saw, written out; a sha that is not in this repo cannot be the head: 412."""
    if not parent or (parent == ZERO_SHA and not repo.head):
        return None
    found = Commit.objects.filter(repo=repo, sha__startswith=parent).first() if _SHA.fullmatch(parent) else None
    if found is None:
        raise WireError(412, f"The parent commit {parent[:40]} is not in {repo.full_name}.")
    return found.sha


def _text(value: dict[str, Any], key: str, default: str = "") -> str:
    text = value.get(key)
    if text is None:
        return default
    if not isinstance(text, str):
        raise WireError(400, f"'{key}' of a commit must be a text.")
    _encoded(text, key)
    if key in ("summary", "description"):
        return text.replace("\x00", "")
    return text
