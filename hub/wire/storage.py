"""What repos weigh: storage of the repos of an account, and the large files of one repo."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Sum
from django.http import HttpResponse, JsonResponse

from hub import rights
from hub.accounts.models import Account
from hub.repos import gitformat, trees
from hub.repos.models import Commit, GitObject, Ref, Repo
from hub.rights import Denied, Verb
from hub.wire.asking import WireRequest, door, find_repo, require_account
from hub.wire.errors import WireError
from hub.wire.shapes import when

MOST_REPOS, MOST_FILES, MOST_COMMITS = 1000, 1000, 200


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
    names, refs, dates = _names(repo), _refs(repo), _dates(repo)
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


def _names(repo: Repo) -> dict[str, str]:
    """Git id → a path: at the head if it is there, else its bare name in some folder of some commit."""
    names: dict[str, str] = {}
    for data in GitObject.objects.filter(repo=repo, kind="tree").values_list("data", flat=True)[:MOST_FILES].iterator():
        names.update({entry.sha: entry.name for entry in gitformat.parse_tree(data).values() if not entry.is_folder})
    if repo.head:
        names.update({sha: path for path, sha in trees.flatten(repo, trees.resolve_commit(repo).tree).items()})
    return names


def _refs(repo: Repo) -> dict[str, str]:
    """Git id → a ref whose newest commit has it; the main branch goes before others."""
    found: dict[str, str] = {}
    refs = list(Ref.objects.filter(repo=repo)[:MOST_COMMITS])
    roots = dict(Commit.objects.filter(repo=repo, sha__in=[ref.target for ref in refs]).values_list("sha", "tree"))
    for ref in sorted(refs, key=lambda ref: ref.short != "main"):
        if ref.target in roots:
            for sha in trees.flatten(repo, roots[ref.target]).values():
                found.setdefault(sha, ref.name)
    return found


def _dates(repo: Repo) -> dict[str, datetime]:
    """Git id → when the oldest of the newest commits that has it was made."""
    dates: dict[str, datetime] = {}
    for commit in Commit.objects.filter(repo=repo).order_by("-created_at")[:MOST_COMMITS]:
        for sha in trees.flatten(repo, commit.tree).values():
            dates[sha] = commit.created_at
    return dates
