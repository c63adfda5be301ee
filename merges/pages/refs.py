"""Branches and tags: the list, making and deleting them, and the menu that leads from one revision to another."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.db.models import Case, Q, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from hub.repos import lifecycle, trees
from hub.repos.models import DEFAULT_BRANCH, Commit, Ref, Repo
from hub.rights import Verb, require
from merges.pages.shared import actor_of, attempt, page_of, repo_or_404, repo_page

HEADS, TAGS = "refs/heads/", "refs/tags/"
PAGE, OFFERED = 100, 50


def page(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Every branch and tag with the commit it names; whoever may write also makes and deletes them."""
    repo = repo_or_404(request, owner, name, task=task)
    actor, asked = actor_of(request), request.POST
    problems: dict[str, str] = {}
    if request.method == "POST":
        _, refused = attempt(request, lambda: require(actor, Verb.WRITE, repo))
        if not refused and asked.get("action") == "delete":
            _delete(request, repo)
        elif not refused:
            problems = _make(request, repo)
        if not problems:
            return redirect(request.path)
    found = page_of(request, _named(repo), PAGE)
    response = repo_page(
        request, "repos/refs.html", repo, "", rows=_rows(repo, list(found.object_list)), page_obj=found,
        problems=problems, asked=asked or request.GET,
    )  # fmt: skip
    response.status_code = 422 if problems else 200
    return response


def _named(repo: Repo) -> Any:
    """The main branch, other branches, then tags, by name; the refs of change requests have pages of their own."""
    named = Ref.objects.filter(Q(name__startswith=HEADS) | Q(name__startswith=TAGS), repo=repo)
    return named.order_by(Case(When(name=HEADS + DEFAULT_BRANCH, then=0), default=1), "name")


def _rows(repo: Repo, refs: list[Ref]) -> list[dict[str, Any]]:
    commits = {row.sha: row for row in Commit.objects.filter(repo=repo, sha__in={ref.target for ref in refs})}
    return [
        {"name": ref.short, "type": "branch" if ref.name.startswith(HEADS) else "tag",
         "is_main": ref.name == HEADS + DEFAULT_BRANCH, "commit": commits.get(ref.target)}
        for ref in refs
    ]  # fmt: skip


def _make(request: HttpRequest, repo: Repo) -> dict[str, str]:
    """Make the branch or tag that the form asks for; for each field that needs another look, a sentence."""
    actor, asked = actor_of(request), request.POST
    name, revision = (asked.get(field, "").replace("\x00", "").strip() for field in ("name", "revision"))
    start, error = attempt(request, lambda: trees.resolve_commit(repo, revision or None))
    if error:
        return {"revision": error}
    if asked.get("type") == "tag":
        work = lambda: lifecycle.create_tag(actor=actor, repo=repo, name=name, revision=start.sha)  # noqa: E731
    else:
        work = lambda: lifecycle.create_branch(actor=actor, repo=repo, name=name, start=start.sha)  # noqa: E731
    _made, error = attempt(request, work)
    if error:
        return {"name": error}
    messages.success(request, f"{name} is at {start.short} now.")
    return {}


def _delete(request: HttpRequest, repo: Repo) -> None:
    """Delete what the form names; why it could not be becomes a message."""
    actor, asked = actor_of(request), request.POST
    name = asked.get("name", "").replace("\x00", "")
    work = lifecycle.delete_tag if asked.get("type") == "tag" else lifecycle.delete_branch
    _, error = attempt(request, lambda: work(actor=actor, repo=repo, name=name))
    if not error:
        messages.success(request, f"{name} is deleted.")


def revisions(repo: Repo, revision: str, commit: Commit, tab: str, inside: str = "") -> dict[str, Any]:
    """What the menu of a page of files or commits offers: the same page (`tab`) at each branch and tag.

    One query. `tags_at` says which tags stand at a commit.
    """
    rows = list(_named(repo).values_list("name", "target"))
    ends = f"/{quote(inside)}" if inside else ""
    here = revision.removeprefix(HEADS).removeprefix(TAGS)

    def offered(prefix: str) -> list[dict[str, Any]]:
        names = [name.removeprefix(prefix) for name, _target in rows if name.startswith(prefix)]
        url = f"{repo.get_absolute_url()}/{tab}/"
        return [{"name": name, "url": f"{url}{quote(name, safe='')}{ends}", "here": name == here} for name in names]

    branches, tags = offered(HEADS), offered(TAGS)
    tags_at: dict[str, list[str]] = {}
    for name, target in rows:
        if name.startswith(TAGS):
            tags_at.setdefault(target, []).append(name.removeprefix(TAGS))
    if any(item["here"] for item in branches):
        glyph, label = "git-branch", here
    elif any(item["here"] for item in tags):
        glyph, label = "tag", here
    else:
        glyph = "git-commit-horizontal"
        label = commit.short if commit.sha.startswith(revision) else here
    return {"glyph": glyph, "label": label, "branches": branches[:OFFERED], "tags": tags[:OFFERED], "tags_at": tags_at}
