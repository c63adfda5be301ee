"""Branches, tags, and the log."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from django.http import HttpResponse, JsonResponse

from hub.repos import commits, history, lifecycle, trees
from hub.repos.models import Ref, Repo
from hub.wire import shapes
from hub.wire.asking import (
    WireRequest,
    absolute,
    commit_at,
    door,
    find_repo,
    flag,
    number_of,
    read_json,
    text_of,
    values_of,
)
from hub.wire.errors import WireError

LOG_PAGE, LARGEST_LOG_PAGE = 50, 500
_KINDS = {"refs/heads/": "branches", "refs/tags/": "tags", "refs/convert/": "converts", "refs/pr/": "pullRequests"}


@door("GET")
def list_refs(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`GET /api/{T}/{R}/refs[?include_prs=1]`."""
    repo = find_repo(request, repokind, owner, name)
    found: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": []}
    with_requests = flag(request.GET.get("include_prs"))
    if with_requests:
        found["pullRequests"] = []
    for ref in Ref.objects.filter(repo=repo):
        kind = next((kind for prefix, kind in _KINDS.items() if ref.name.startswith(prefix)), "")
        if kind in found:
            short = ref.name.split("/", 2)[2]
            found[kind].append({"name": short, "ref": ref.name, "targetCommit": ref.target})
    return JsonResponse(found)


@door("POST", limit="write")
def create_branch(request: WireRequest, repokind: str, owner: str, name: str, branch: str) -> HttpResponse:
    """`POST /api/{T}/{R}/branch/{branch}` `{startingPoint?, overwrite?}`."""
    repo = find_repo(request, repokind, owner, name)
    start = text_of(read_json(request), "startingPoint")
    commits.begin(actor=request.actor, repo=repo)
    try:
        ref = lifecycle.create_branch(actor=request.actor, repo=repo, name=branch, start=start or None)
    except lifecycle.Exists as error:
        raise WireError(409, f"Reference already exists: {branch}") from error
    return JsonResponse({"name": branch, "ref": ref.name, "targetCommit": ref.target})


@door("DELETE", limit="write")
def delete_branch(request: WireRequest, repokind: str, owner: str, name: str, branch: str) -> HttpResponse:
    """`DELETE /api/{T}/{R}/branch/{branch}`; the main one stays."""
    repo = find_repo(request, repokind, owner, name)
    lifecycle.delete_branch(actor=request.actor, repo=repo, name=branch)
    return HttpResponse("OK", content_type="text/plain")


@door("POST", limit="write")
def create_tag(request: WireRequest, repokind: str, owner: str, name: str, revision: str) -> HttpResponse:
    """`POST /api/{T}/{R}/tag/{rev}` `{tag, message?}`."""
    repo = find_repo(request, repokind, owner, name)
    tag = text_of(read_json(request), "tag")
    commits.begin(actor=request.actor, repo=repo)
    try:
        ref = lifecycle.create_tag(actor=request.actor, repo=repo, name=tag, revision=revision)
    except lifecycle.Exists as error:
        raise WireError(409, f"Tag already exists: {tag}") from error
    return JsonResponse({"name": tag, "ref": ref.name, "targetCommit": ref.target})


@door("DELETE", limit="write")
def delete_tag(request: WireRequest, repokind: str, owner: str, name: str, revision: str) -> HttpResponse:
    """`DELETE /api/{T}/{R}/tag/{tag}`."""
    repo = find_repo(request, repokind, owner, name)
    lifecycle.delete_tag(actor=request.actor, repo=repo, name=revision)
    return HttpResponse("OK", content_type="text/plain")


@door("GET")
def list_commits(request: WireRequest, repokind: str, owner: str, name: str, revision: str) -> HttpResponse:
    """`GET /api/{T}/{R}/commits/{rev}`, newest first, page by page, with the number of all."""
    repo = find_repo(request, repokind, owner, name)
    commit = commit_at(repo, revision)
    page, size = number_of(request, "p", 0), min(max(1, number_of(request, "limit", LOG_PAGE)), LARGEST_LOG_PAGE)
    log = trees.log(repo, commit, limit=trees.WHOLE_LOG)
    formatted = "formatted" in values_of(request, "expand")
    rows = []
    for row in log[page * size : (page + 1) * size]:
        shaped = shapes.commit_row(row)
        if formatted:
            shaped["formatted"] = {"title": row.title, "message": row.message}
        rows.append(shaped)
    response = JsonResponse(rows, safe=False)
    response["X-Total-Count"] = str(len(log))
    if (page + 1) * size < len(log):
        response["Link"] = _next(request, repokind, repo, commit.sha, {"p": page + 1, "limit": size}, formatted)
    return response


@door("POST", limit="write")
def super_squash(request: WireRequest, repokind: str, owner: str, name: str, branch: str) -> HttpResponse:
    """`POST /api/{T}/{R}/super-squash/{branch}` `{message}`: one commit with the branch's files and no past."""
    repo = find_repo(request, repokind, owner, name)
    message = text_of(read_json(request), "message") or f"Super-squash branch '{branch}'"
    commit = history.squash(actor=request.actor, repo=repo, branch=branch, message=message)
    return JsonResponse({"commitOid": commit.sha})


def _next(request: WireRequest, repokind: str, repo: Repo, sha: str, query: dict[str, Any], formatted: bool) -> str:
    """The next page, pinned to the commit the first one started at."""
    words = [*query.items(), *([("expand[]", "formatted")] if formatted else [])]
    address = f"/api/{repokind}/{quote(repo.full_name)}/commits/{sha}?{urlencode(words)}"
    return f'<{absolute(request, address)}>; rel="next"'
