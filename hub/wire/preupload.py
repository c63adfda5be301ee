"""Before an upload: which files travel inside the commit, which by LFS, which are here already, which stay behind."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpResponse, JsonResponse
from dulwich.ignore import IgnoreFilter
from dulwich.objects import Blob as GitBlob

from hub import rights
from hub.repos import commits, policy, trees
from hub.repos.models import Repo
from hub.repos.trees import File
from hub.rights import Verb
from hub.store.models import Blob
from hub.wire.asking import WireRequest, commit_at, door, find_repo, flag, read_json, require_account, text_of
from hub.wire.errors import WireError, header_text

MAX_FILES = 1000
MAX_REREAD = 256 * 1024 * 1024
"""Bytes of stored files that one request may have read again to learn their git ids."""

SENT_AHEAD = (".parquet",)
"""Kinds that clients send before their commit, whatever the size: `datasets` has removed its copy by then."""

MONTH = 30 * 24 * 3600


@door("POST")
def preupload(request: WireRequest, repokind: str, owner: str, name: str, revision: str) -> HttpResponse:
    """`POST /api/{T}/{R}/preupload/{rev}`: a row for every file. Kinds that would be refused are refused now."""
    require_account(request)
    repo, body = find_repo(request, repokind, owner, name), read_json(request)
    if flag(request.GET.get("create_pr")):
        rights.require(request.actor, Verb.PROPOSE, repo)
    else:
        commits.require_right(request.actor, repo, commits.full_ref(revision))
    asked = [_file(row) for row in _rows(body)]
    current = _current(repo, revision, [path for path, _size in asked])
    ignored = _ignore_filter(body, current)
    answer, budget, left = [], [MAX_REREAD], []
    for path, size in asked:
        skip = ignored is not None and bool(ignored.is_ignored(path))
        if not skip and policy.is_trainers_own(path):
            skip = True
            left.append(path)
        if not skip:
            policy.check_path(path)
            policy.check_kind(path)
        mode = "lfs" if size > settings.LIMITS["regular_bytes"] or path.endswith(SENT_AHEAD) else "regular"
        oid = known_oid(current[path], mode, size, budget) if path in current else None
        answer.append({"path": path, "uploadMode": mode, "shouldIgnore": skip, "oid": oid})
    response = JsonResponse({"files": answer})
    if left:
        response["X-HF-Warning"] = f"left-behind; {_left_behind(left)}"
    return response


def _left_behind(paths: list[str]) -> str:
    """A sentence for who sends the state of a training along with its result."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return header_text(
        f"{', '.join(paths[:3])}{more}: left behind. A training's log, and its state in pickles, are not kept here."
    )


def known_oid(file: File, mode: str, size: int, budget: list[int]) -> str | None:
    """What the client compares with its local hash: of the mode's kind, or None if it cannot be the same file."""
    if file.size != size:
        return None
    if mode == "lfs":
        return file.blob.sha256 if file.blob else None
    return file.sha if file.blob is None else _git_id(file, file.blob, budget)


def _git_id(file: File, blob: Blob, budget: list[int]) -> str | None:
    """Git's id of a large file's own bytes (its tree has the pointer's). Read once, then remembered by hash."""
    key = f"git-id:{blob.sha256}"
    known = cache.get(key)
    if known is None:
        if blob.size > budget[0]:
            return None
        budget[0] -= blob.size
        known = GitBlob.from_string(file.read()).id.decode()
        cache.set(key, known, MONTH)
    return str(known)


def _rows(body: dict[str, Any]) -> list[Any]:
    rows = body.get("files")
    if not isinstance(rows, list) or len(rows) > MAX_FILES:
        raise WireError(400, f"'files' is a list of {MAX_FILES} files at most.")
    return rows


def _file(row: Any) -> tuple[str, int]:
    if not isinstance(row, dict) or not isinstance(row.get("path"), str) or not isinstance(row.get("size"), int):
        raise WireError(400, "Every file has a 'path' and a 'size'.")
    return row["path"], row["size"]


def _current(repo: Repo, revision: str, paths: list[str]) -> dict[str, File]:
    """The files of the revision that are asked for, and its .gitignore."""
    here = trees.flatten(repo, commit_at(repo, revision).tree)
    return trees.load_files(repo, {path: here[path] for path in {*paths, ".gitignore"} if path in here})


def _ignore_filter(body: dict[str, Any], current: dict[str, File]) -> IgnoreFilter | None:
    """The .gitignore that comes with the request, else the repo's."""
    text = text_of(body, "gitIgnore")
    data = text.encode() if text else current[".gitignore"].read() if ".gitignore" in current else b""
    lines = [line for line in data.splitlines() if line.strip() and not line.startswith(b"#")]
    return IgnoreFilter(lines[:1000]) if lines else None
