"""Listings of a revision: its tree, page by page, and chosen paths."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.http import HttpResponse, JsonResponse

from hub.repos import trees, xet_names
from hub.repos.history import last_commits
from hub.repos.models import Commit, Repo
from hub.repos.trees import EntryNotFound, Listed
from hub.wire import shapes
from hub.wire.asking import WireRequest, absolute, commit_at, door, find_repo, flag, number_of
from hub.wire.errors import WireError

PAGE, PAGE_EXPANDED = 1000, 100
MAX_PATHS = 1000
Row = tuple[str, str, bool]
"""path, git id, whether it is a folder"""


@door("GET", "HEAD")
def tree(request: WireRequest, repokind: str, owner: str, name: str, revision: str, path: str = "") -> HttpResponse:
    """`GET /api/{T}/{R}/tree/{rev}[/{path}]?recursive=&expand=`. The next page's link needs nothing else."""
    repo = find_repo(request, repokind, owner, name, upstream=True)
    commit = commit_at(repo, revision)
    path = path.strip("/")
    rows = _rows(repo, commit, path, recursive=flag(request.GET.get("recursive")))
    after, expand = request.GET.get("cursor", ""), flag(request.GET.get("expand"))
    most = PAGE_EXPANDED if expand else PAGE
    size = min(max(1, number_of(request, "limit", most)), most)
    rows = [row for row in rows if row[0] > after]
    page = rows[:size]
    response = JsonResponse(_shapes(repo, commit, page, expand=expand), safe=False)
    if len(rows) > size:
        query = {key: request.GET[key] for key in ("recursive", "expand", "limit") if key in request.GET}
        response["Link"] = _link(request, repokind, repo, revision, path, query | {"cursor": page[-1][0]})
    response["X-Repo-Commit"] = commit.sha
    return response


@door("POST")
def paths_info(request: WireRequest, repokind: str, owner: str, name: str, revision: str) -> HttpResponse:
    """`POST /api/{T}/{R}/paths-info/{rev}`, form-encoded: tree rows of these paths; missing ones are left out."""
    repo = find_repo(request, repokind, owner, name)
    commit = commit_at(repo, revision)
    wanted = [path.strip("/") for path in request.POST.getlist("paths") + request.POST.getlist("paths[]")]
    if len(wanted) > MAX_PATHS:
        raise WireError(400, f"Ask for {MAX_PATHS} paths at most.")
    folders, files = trees.walk(repo, commit.tree)
    rows: list[Row] = [(path, files[path], False) for path in wanted if path in files]
    rows += [(path, folders[path], True) for path in wanted if path in folders]
    shaped = _shapes(repo, commit, rows, expand=flag(request.POST.get("expand")))
    if settings.XET and request.actor.may_write:  # who may copy a file to another repo
        unnamed = [row for row in shaped if "lfs" in row and "xetHash" not in row]
        names = xet_names.names_of({row["lfs"]["oid"] for row in unnamed})
        for row in unnamed:
            row |= {"xetHash": names[row["lfs"]["oid"]]} if row["lfs"]["oid"] in names else {}
    return JsonResponse(shaped, safe=False)


def _rows(repo: Repo, commit: Commit, path: str, *, recursive: bool) -> list[Row]:
    """Everything in (with `recursive`, below) a folder, by path. Raises EntryNotFound."""
    root = commit.tree
    if path:
        entry = trees.find(repo, commit, path)
        if not entry.is_folder:
            raise EntryNotFound(f"{path[:255]} is a file in {repo.full_name} at {commit.short}.")
        root = entry.sha
    prefix = f"{path}/" if path else ""
    if recursive:
        folders, files = trees.walk(repo, root)
        rows = [(prefix + name, sha, False) for name, sha in files.items()]
        rows += [(prefix + name, sha, True) for name, sha in folders.items()]
    else:
        rows = [(prefix + entry.name, entry.sha, entry.is_folder) for entry in trees.read_tree(repo, root).values()]
    return sorted(rows)


def _shapes(repo: Repo, commit: Commit, rows: list[Row], *, expand: bool) -> list[dict[str, Any]]:
    files = {file.path: file for file in trees.describe(repo, {path: sha for path, sha, folder in rows if not folder})}
    shaped = [_shape(path, sha, files.get(path)) for path, sha, _folder in rows]
    if expand:
        latest = last_commits(repo, commit, {path: sha for path, sha, _folder in rows})
        for row in shaped:
            row |= _expanded(row, latest[row["path"]])
    return shaped


def _shape(path: str, sha: str, file: Listed | None) -> dict[str, Any]:
    return shapes.listed_file(file) if file else shapes.listed_folder(path, sha)


def _expanded(row: dict[str, Any], commit: Commit) -> dict[str, Any]:
    """The commit that last changed a path. Pickles are refused at the door, so every stored file counts as safe."""
    more: dict[str, Any] = {
        "lastCommit": {"id": commit.sha, "title": commit.title, "date": shapes.when(commit.created_at)}
    }
    if row["type"] == "file":
        more["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return more


def _link(request: WireRequest, repokind: str, repo: Repo, revision: str, path: str, query: dict[str, str]) -> str:
    inside = f"/{quote(path)}" if path else ""
    address = f"/api/{repokind}/{repo.full_name}/tree/{quote(revision, safe='')}{inside}?{urlencode(query)}"
    return f'<{absolute(request, address)}>; rel="next"'
