"""Text files written, changed and removed in the browser: on a branch, or as a change request."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from hub.repos import cards, editing, trees
from hub.repos.commits import full_ref, require_right
from hub.repos.editing import Edit
from hub.repos.frontmatter import CardError, parse_card
from hub.repos.models import DEFAULT_BRANCH, Repo
from hub.review import change_requests
from hub.rights import Denied, Verb, require
from merges.pages.shared import actor_of, attempt, commit_or_404, repo_or_404, repo_page, signed_in


def may_edit(request: HttpRequest, repo: Repo, revision: str) -> bool:
    """Is this a branch (or a change request) to which this person could send a change, directly or for review?"""
    ref = trees.resolve_ref(repo, revision)
    if ref is None or ref.name.startswith("refs/tags/"):
        return False
    return _may_commit(request, repo, revision) or (_is_branch(revision) and actor_of(request).may_write)


def _is_branch(revision: str) -> bool:
    return full_ref(revision).startswith("refs/heads/")


def _may_commit(request: HttpRequest, repo: Repo, revision: str) -> bool:
    try:
        require_right(actor_of(request), repo, full_ref(revision))
    except Denied:
        return False
    return True


@signed_in
def edit(request: HttpRequest, owner: str, name: str, revision: str, inside: str, task: bool = False) -> HttpResponse:
    """Change a text file, or give it another name."""
    repo = repo_or_404(request, owner, name, task=task)
    commit = commit_or_404(repo, revision)
    if request.method == "POST":
        return _sent(request, repo, revision, inside)
    try:
        file = trees.get_file(repo, commit, inside)
    except trees.EntryNotFound as error:
        raise Http404(str(error)) from error
    text, fault = attempt(request, lambda: editing.text_of(file))
    if fault:
        return redirect(f"{repo.get_absolute_url()}/blob/{quote(revision, safe='')}/{quote(inside)}")
    return _form(request, repo, revision, inside, path=inside, text=text, seen=file.sha, parent=commit.sha)


@signed_in
def new(request: HttpRequest, owner: str, name: str, revision: str, task: bool = False) -> HttpResponse:
    """Write a new text file; a card begins with what a card should say."""
    repo = repo_or_404(request, owner, name, task=task)
    if request.method == "POST":
        return _sent(request, repo, revision, "")
    commit = commit_or_404(repo, revision) if repo.head or revision != DEFAULT_BRANCH else None
    path = request.GET.get("path", "")[:255]
    text = cards.skeleton(repo) if path == "README.md" else ""
    return _form(request, repo, revision, "", path=path, text=text, seen="", parent=commit.sha if commit else "")


@signed_in
def remove(request: HttpRequest, owner: str, name: str, revision: str, inside: str, task: bool = False) -> HttpResponse:
    """Remove a file; it stays in the history."""
    repo = repo_or_404(request, owner, name, task=task)
    commit = commit_or_404(repo, revision)
    if request.method == "POST":
        return _sent(request, repo, revision, inside, gone=True)
    seen = editing.git_id(repo, commit, inside)
    if not seen:
        raise Http404(f"There is no file {inside}.")
    return _form(request, repo, revision, inside, gone=True, path=inside, seen=seen, parent=commit.sha)


@signed_in
@require_POST
def preview(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """The text of a card as its page will show it, or what is wrong with its front matter."""
    repo = repo_or_404(request, owner, name, task=task)
    text, fault = request.POST.get("text", "")[: editing.MOST_EDITED], ""
    if request.POST.get("path", "").lower() == "readme.md":
        try:
            text = parse_card(text.replace("\r\n", "\n").encode())[1]
        except CardError as error:
            fault = error.message
    return render(request, "repos/edit_preview.html", {"text": text, "fault": fault, "url": repo.get_absolute_url()})


def _form(
    request: HttpRequest, repo: Repo, revision: str, inside: str, *, gone: bool = False, status: int = 200,
    **shown: Any,
) -> HttpResponse:  # fmt: skip
    """The form with what was typed; whoever may neither commit nor propose is told why."""
    may_commit = _may_commit(request, repo, revision)
    if not may_commit:
        _, error = attempt(request, lambda: require(actor_of(request), Verb.PROPOSE, repo))
        if error or not _is_branch(revision):
            return redirect(repo.get_absolute_url())
    usual = f"{'Remove' if gone else 'Change' if inside else 'Add'} {inside or shown['path'] or 'a file'}"
    response = repo_page(
        request, "repos/edit.html", repo, "files", revision=revision, inside=inside, gone=gone, usual=usual,
        may_commit=may_commit, reviewable=_is_branch(revision) and bool(repo.head),
        is_markdown=not gone and (shown["path"] or "").lower().endswith(".md"), **shown,
    )  # fmt: skip
    response.status_code = status
    return response


def _sent(request: HttpRequest, repo: Repo, revision: str, inside: str, *, gone: bool = False) -> HttpResponse:
    """Commit what was sent, or open a change request with it; if that is refused nothing typed is lost."""
    asked = request.POST
    typed = {name: asked.get(name, "").replace("\x00", "").strip() for name in ("path", "seen", "parent", "message")}
    typed["description"] = asked.get("description", "").replace("\x00", "")
    text = None if gone else asked.get("text", "")
    change = Edit(path=typed["path"], text=text, opened=inside, seen=typed["seen"])
    proposing = asked.get("where") == "propose"
    send = _propose if proposing else _save
    done, error = attempt(request, lambda: send(request, repo, revision, change, typed))
    if done:
        return redirect(done)
    meanwhile = {} if proposing else _meanwhile(repo, revision, inside, typed)
    return _form(
        request, repo, revision, inside, gone=gone, status=409 if meanwhile else 422, error=error, text=text,
        proposing=proposing, **(typed | meanwhile),
    )  # fmt: skip


def _save(request: HttpRequest, repo: Repo, revision: str, change: Edit, typed: dict[str, str]) -> str:
    """Commit to the branch; the page to go to."""
    editing.save(actor=actor_of(request), repo=repo, branch=revision, edit=change, message=_title(typed))
    url, there = repo.get_absolute_url(), quote(revision, safe="")
    return f"{url}/tree/{there}" if change.text is None else f"{url}/blob/{there}/{quote(change.path)}"


def _propose(request: HttpRequest, repo: Repo, revision: str, change: Edit, typed: dict[str, str]) -> str:
    """Open a change request on top of what was seen; the page to go to."""
    base = trees.resolve_commit(repo, typed["parent"] or revision)
    row, _ = change_requests.propose(
        actor=actor_of(request), repo=repo, changes_=editing.changes_of(repo, base, change), title=_title(typed),
        description=typed["description"], target=revision, base=base.sha,
    )  # fmt: skip
    return row.get_absolute_url()


def _title(typed: dict[str, str]) -> str:
    return typed["message"] or f"Change {typed['path']}"


def _meanwhile(repo: Repo, revision: str, inside: str, typed: dict[str, str]) -> dict[str, str]:
    """Where to see what others made of the file since it was opened; who saves again has seen it. Empty if nothing."""
    try:
        head = trees.resolve_commit(repo, full_ref(revision))
    except trees.RevisionNotFound:
        return {}
    seen = editing.git_id(repo, head, inside)
    if not inside or seen == typed["seen"]:
        return {}
    url = repo.get_absolute_url()
    return {
        "seen": seen, "parent": head.sha, "theirs": f"{url}/blob/{head.sha}/{quote(inside)}" if seen else "",
        "between": f"{url}/compare/{typed['parent']}..{head.sha}",
    }  # fmt: skip
