"""What repos weigh: storage of the repos of an account, and the large files of one repo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Sum
from django.http import HttpResponse, JsonResponse

from hub import rights
from hub.accounts.models import Account
from hub.repos import copying, gitformat
from hub.repos.gitformat import Entry
from hub.repos.models import DEFAULT_BRANCH, Commit, GitObject, Ref, Repo
from hub.rights import Denied, Verb
from hub.wire.asking import WireRequest, door, find_repo, read_json, require_account
from hub.wire.errors import WireError
from hub.wire.shapes import when

SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_REPOS, MOST_FILES, MOST_FOLDERS = 1000, 1000, 20_000


@door("GET")
def repositories(request: WireRequest, name: str = "") -> HttpResponse:
    """`GET /api/settings/repositories`, `GET /api/organizations/{name}/settings/repositories`: the largest first."""
    account = require_account(request)
    if name and name.lower() != account.name.lower():
        found = Account.objects.organisations().filter(name__iexact=name).first()
        if found is None or not rights.can_act_for(request.actor, found):
            raise Denied("Only those who write for an organisation see what it stores.")
        account = found
    repos = list(Repo.objects.filter(owner=account).visible_to(request.actor).select_related("owner")[:MOST_REPOS])
    used = weigh(repos)
    whole = sum(used.values()) or 1
    shaped = [
        {
            "id": repo.full_name,
            "type": "dataset" if repo.is_task else "model",
            "updatedAt": when(repo.updated_at),
            "visibility": "private" if repo.private else "public",
            "storage": used.get(repo.pk, 0),
            "storagePercent": round(100 * used.get(repo.pk, 0) / whole, 2),
        }
        for repo in repos
    ]
    return JsonResponse(sorted(shaped, key=lambda row: -int(str(row["storage"]))), safe=False)


def weigh(repos: list[Repo]) -> dict[Any, int]:
    """Repo key → bytes of all versions of its files, each content once."""
    rows = GitObject.objects.filter(repo__in=repos, kind="blob").order_by().values("repo").annotate(bytes=Sum("size"))
    return {row["repo"]: int(row["bytes"] or 0) for row in rows}


@door("GET")
def lfs_files(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`GET /api/{T}/{R}/lfs-files`: every large file any commit of the repo has. For those who may write it."""
    require_account(request)
    repo = find_repo(request, repokind, owner, name)
    rights.require(request.actor, Verb.WRITE, repo)
    rows = GitObject.objects.filter(repo=repo, large__isnull=False).values_list("sha", "large_id", "size")[:MOST_FILES]
    folders = _folders(repo)
    commits = list(
        Commit.objects.filter(repo=repo).order_by("created_at", "pk").values_list("sha", "tree", "created_at")
    )
    roots = {sha: root for sha, root, _made in commits}
    listed = sorted(Ref.objects.filter(repo=repo), key=lambda ref: (ref.short != DEFAULT_BRANCH, ref.name))
    refs = _refs(folders, [(ref.name, roots.get(ref.target, "")) for ref in listed])
    names = _names(folders, roots.get(repo.head, ""))
    dates = _dates(folders, [(root, made) for _sha, root, made in commits])
    shaped: list[dict[str, Any]] = [
        {
            "fileOid": sha256,
            "filename": names.get(sha, ""),
            "oid": sha256,
            "pushedAt": when(dates.get(sha, repo.created_at)),
            "ref": refs.get(sha),
            "size": size,
        }
        for sha, sha256, size in rows
    ]
    return JsonResponse(sorted(shaped, key=lambda row: row["filename"]), safe=False)


@door("POST")
def delete_lfs_files(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST /api/{T}/{R}/lfs-files/batch`: not offered, since it would break the commits that name these files."""
    require_account(request)
    rights.require(request.actor, Verb.WRITE, find_repo(request, repokind, owner, name))
    raise WireError(
        501, "Files are not cut out of history here: delete them in a commit, then super-squash the branch."
    )


@door("POST", limit="write")
def duplicate_lfs_files(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST /api/{T}/{R}/lfs-files/duplicate` `{target: {type, name}, files: [{sha256, …}]}`: before a copying commit.

    A file that the source lacks stands in `failed`.
    """
    require_account(request)
    source, body = find_repo(request, repokind, owner, name), read_json(request)
    wanted, rows = body.get("target"), body.get("files")
    kind, there = (wanted.get("type"), wanted.get("name")) if isinstance(wanted, dict) else (None, None)
    if kind not in ("model", "dataset") or not isinstance(there, str) or there.count("/") != 1:
        raise WireError(422, "'target' is a model or a dataset, named owner/name.")
    if not isinstance(rows, list) or len(rows) > MOST_FILES:
        raise WireError(400, f"'files' is a list of {MOST_FILES} files at most.")
    files = [str(row.get("sha256")) if isinstance(row, dict) else "" for row in rows]
    if not all(map(SHA256.fullmatch, files)):
        raise WireError(400, "Every file has a 'sha256' in 64 lower-case hex digits.")
    target = find_repo(request, f"{kind}s", *there.split("/"))
    missing = copying.lend(actor=request.actor, source=source, target=target, files=files)
    failed = [{"sha256": sha256, "error": f"{source.full_name} has no such file."} for sha256 in missing]
    return JsonResponse({"failed": failed})


Folders = dict[str, dict[str, Entry]]
"""Git id of a folder → what is in it, by name."""


def _folders(repo: Repo) -> Folders:
    """The folders of all commits of a repo, the newest of very many, in one query."""
    rows = GitObject.objects.filter(repo=repo, kind="tree").order_by("-pk").values_list("sha", "data")
    return {sha: gitformat.parse_tree(bytes(data)) for sha, data in rows[:MOST_FOLDERS]}


def _files(folders: Folders, root: str, passed: set[str]) -> Iterator[tuple[str, str]]:
    """(path, git id) of every file below a folder, but not in the folders that were passed before."""
    waiting = [("", root)]
    while waiting:
        prefix, folder = waiting.pop()
        if folder in passed:
            continue
        passed.add(folder)
        for entry in folders.get(folder, {}).values():
            if entry.is_folder:
                waiting.append((f"{prefix}{entry.name}/", entry.sha))
            else:
                yield prefix + entry.name, entry.sha


def _names(folders: Folders, head: str) -> dict[str, str]:
    """Git id → a path: at the head if it is there, else its bare name in some folder of some commit."""
    names = {entry.sha: entry.name for folder in folders.values() for entry in folder.values() if not entry.is_folder}
    return names | {sha: path for path, sha in reversed(list(_files(folders, head, set())))}


def _refs(folders: Folders, roots: list[tuple[str, str]]) -> dict[str, str]:
    """Git id → the first of these (ref, folder) that has it."""
    found: dict[str, str] = {}
    passed: set[str] = set()
    for ref, root in roots:
        for _path, sha in _files(folders, root, passed):
            found.setdefault(sha, ref)
    return found


def _dates(folders: Folders, commits: list[tuple[str, datetime]]) -> dict[str, datetime]:
    """Git id → when the oldest commit that has it was made. `commits`: (folder, time), the oldest first."""
    dates: dict[str, datetime] = {}
    passed: set[str] = set()
    for root, made in commits:
        for _path, sha in _files(folders, root, passed):
            dates.setdefault(sha, made)
    return dates
