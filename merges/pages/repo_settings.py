"""A repo's settings: description and visibility, its name and owner, and its end."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.repos import lifecycle
from hub.repos.models import Repo
from hub.rights import Verb, owners_for, require
from merges.pages.shared import actor_of, attempt, owner_among, repo_or_404, repo_page, signed_in
from merges.work.discretion import named_when_public

Outcome = tuple[str, dict[str, str]]
"""Where to go now that it is done; or "", with a sentence for each field that needs another look."""


@signed_in
def settings(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Whoever administers the repo changes it here; others are led to its page."""
    repo = repo_or_404(request, owner, name, task=task)
    actor, asked = actor_of(request), request.POST
    _, error = attempt(request, lambda: require(actor, Verb.ADMIN, repo))
    if error:
        return redirect(repo.get_absolute_url())
    problems: dict[str, str] = {}
    if request.method == "POST":
        work = {"move": _move, "delete": _delete}.get(asked.get("action", ""), _describe)
        there, problems = work(request, repo)
        if there:
            return redirect(there)
    response = repo_page(
        request, "repos/settings.html", repo, "settings", asked=asked, problems=problems,
        owners=_owners(actor, repo), named=named_when_public(actor, repo) if repo.private else [],
    )  # fmt: skip
    response.status_code = 422 if problems else 200
    return response


def _describe(request: HttpRequest, repo: Repo) -> Outcome:
    """Description and visibility. To make a repo public that names private ones needs a second tick."""
    actor, asked = actor_of(request), request.POST
    private, description = asked.get("private") == "on", asked.get("description", "").replace("\x00", "")
    opens = repo.private and not private
    if opens and asked.get("names") != "on" and named_when_public(actor, repo):
        return "", {"names": "Nothing was changed. Tick this box too if everybody may know these names."}
    if description != repo.description:
        lifecycle.describe(actor=actor, repo=repo, description=description)
    if private != repo.private:
        lifecycle.set_private(actor=actor, repo=repo, private=private)
    messages.success(request, "Saved." if not opens else "Saved. Everybody can read this repo now.")
    return request.path, {}


def _move(request: HttpRequest, repo: Repo) -> Outcome:
    """Another name or owner; the old address leads to the new one."""
    actor, asked, before = actor_of(request), request.POST, repo.full_name
    owner, name = asked.get("owner", ""), asked.get("name", "").strip()
    if (owner, name) == (repo.owner.name, repo.name):
        return request.path, {}
    _, error = attempt(
        request,
        lambda: lifecycle.move_repo(actor=actor, repo=repo, owner=owner_among(_owners(actor, repo), owner), name=name),
    )
    if error:
        return "", {"move": error}
    messages.success(request, f"{before} is {repo.full_name} now. Its old address leads here.")
    return repo.get_absolute_url(), {}


def _delete(request: HttpRequest, repo: Repo) -> Outcome:
    """Gone with its history, once its name is typed."""
    if request.POST.get("name") != repo.full_name:
        return "", {"delete": "That is not the name of this repo; nothing was deleted."}
    lifecycle.delete_repo(actor=actor_of(request), repo=repo)
    messages.success(request, f"{repo.full_name} is deleted.")
    return f"/{repo.owner.name}", {}


def _owners(actor: Actor, repo: Repo) -> list[Account]:
    """Who may have the repo: its owner, oneself, and the organisations one may write for."""
    return [repo.owner, *(account for account in owners_for(actor) if account.pk != repo.owner_id)]
