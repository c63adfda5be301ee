"""Folders and files of a repo at a revision."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse

from adapters.models import Inspection
from hub.pages.errors import describe
from hub.repos import trees
from hub.repos.history import last_commits
from hub.repos.models import Commit, Repo
from merges.pages import editing
from merges.pages.refs import revisions
from merges.pages.shared import commit_or_404, repo_or_404, repo_page

MAX_SHOWN = 300_000
TEXT = (".md", ".json", ".jsonl", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".jinja")
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp")


def files(
    request: HttpRequest, owner: str, name: str, revision: str, inside: str = "", task: bool = False
) -> HttpResponse:
    """A folder at a revision."""
    repo = repo_or_404(request, owner, name, task=task)
    commit = commit_or_404(repo, revision)
    try:
        folders, found = trees.list_folder(repo, commit, inside.strip("/"))
    except trees.EntryNotFound as error:
        raise Http404(str(error)) from error
    inside = inside.strip("/")
    url, rev = repo.get_absolute_url(), quote(revision, safe="")
    latest = last_commits(
        repo, commit, {item.path: item.sha for item in folders} | {item.path: item.sha for item in found}
    )
    entries = [
        {"name": item.path.rpartition("/")[2], "url": f"{url}/tree/{rev}/{quote(item.path)}", "folder": True,
         "commit": _told(url, latest[item.path])}
        for item in folders
    ] + [
        {"name": item.path.rpartition("/")[2], "url": f"{url}/blob/{rev}/{quote(item.path)}", "size": item.size,
         "large": item.blob is not None, "sha256": item.blob.sha256 if item.blob else "",
         "download_url": f"{url}/resolve/{rev}/{quote(item.path)}", "commit": _told(url, latest[item.path])}
        for item in found
    ]  # fmt: skip
    above = f"{url}/tree/{rev}/{quote(inside.rpartition('/')[0])}".rstrip("/") if inside else ""
    return repo_page(
        request, "repos/files.html", repo, "files", entries=entries, parent_url=above, revision=revision,
        commit=commit, inside=inside, crumbs=_crumbs(repo, revision, inside),
        revisions=revisions(repo, revision, commit, "tree", inside), may_edit=editing.may_edit(request, repo, revision),
    )  # fmt: skip


def _crumbs(repo: Repo, revision: str, inside: str) -> list[dict[str, str]]:
    """The way from the repo's first folder to a path, each part with its folder's address; the last part has none."""
    parts = [repo.name, *filter(None, inside.split("/"))]
    head = f"{repo.get_absolute_url()}/tree/{quote(revision, safe='')}"
    urls = ["/".join([head, *map(quote, parts[1 : end + 1])]) for end in range(len(parts) - 1)]
    return [{"name": name, "url": url} for name, url in zip(parts, [*urls, ""], strict=True)]


def _told(url: str, commit: Commit) -> dict[str, Any]:
    """A file's last change as the list says it: its title leads to what it changed."""
    return {"title": commit.title, "url": f"{url}/commit/{commit.sha}", "at": commit.created_at}


def blob(request: HttpRequest, owner: str, name: str, revision: str, inside: str, task: bool = False) -> HttpResponse:
    """One file: text and images are shown, weights as their tensors, others offered for download."""
    repo = repo_or_404(request, owner, name, task=task)
    commit = commit_or_404(repo, revision)
    try:
        file = trees.get_file(repo, commit, inside)
    except trees.EntryNotFound as error:
        raise Http404(str(error)) from error
    lower = inside.lower()
    text = ""
    if lower.endswith(TEXT) and file.size <= MAX_SHOWN:
        try:
            text = file.read().decode(errors="replace")
        except Exception as error:
            known = describe(error)
            if known is None:
                raise
            text = known[2]
    url = repo.get_absolute_url()
    return repo_page(
        request, "repos/blob.html", repo, "files", file=file, commit=commit, revision=revision, text=text,
        crumbs=_crumbs(repo, revision, inside), revisions=revisions(repo, revision, commit, "blob", inside),
        last=_told(url, last_commits(repo, commit, {inside: file.sha})[inside]),
        may_edit=editing.may_edit(request, repo, revision),
        language=lower.rpartition(".")[2], is_image=lower.endswith(IMAGES), tensors=_tensors(repo, commit, inside),
        download_url=f"{url}/resolve/{quote(revision, safe='')}/{quote(inside)}",
    )  # fmt: skip


def _tensors(repo: Repo, commit: Commit, inside: str) -> list[Any]:
    if not inside.endswith(".safetensors"):
        return []
    inspection = Inspection.objects.filter(repo=repo, sha=commit.sha).first()
    return (inspection.facts.get("tensors") or [])[:2000] if inspection else []
