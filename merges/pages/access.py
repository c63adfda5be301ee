"""The door of a gated repo: asking to be let in, and, for those who administer it, answering."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from hub.numerals import key_of
from hub.repos import access
from hub.repos.models import AccessRequest, Gate, Repo
from hub.rights import Verb, can
from merges.pages.shared import actor_of, attempt, page_of, repo_page, signed_in


def gate(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """What the repo is and how to get in; for administrators the requests and the gate itself."""
    repo = _known(request, owner, name, task)
    if request.method == "POST":
        return _act(request, repo)
    actor = actor_of(request)
    if can(actor, Verb.ADMIN, repo):
        rows = AccessRequest.objects.filter(repo=repo).select_related("account").order_by("-state", "-created_at")
        return repo_page(request, "repos/gate.html", repo, "settings", requests=rows[:200], gates=Gate)
    mine = AccessRequest.objects.filter(repo=repo, account=actor.account).first() if actor.account else None
    if can(actor, Verb.READ, repo):
        return redirect(repo.get_absolute_url())
    return render(request, "repos/gated.html", {"repo": repo, "mine": mine}, status=403)


@signed_in
def _act(request: HttpRequest, repo: Repo) -> HttpResponse:
    actor, asked = actor_of(request), request.POST
    action = asked.get("action", "")
    if action == "ask":
        attempt(request, lambda: access.ask(actor=actor, repo=repo, text=asked.get("text", "")))
    elif action == "gate":
        attempt(request, lambda: access.set_gate(actor=actor, repo=repo, gated=asked.get("gated", "")))
    elif action in AccessRequest.State.values:
        rows = AccessRequest.objects.filter(repo=repo, pk=key_of(asked.get("request"))).select_related("account")
        for row in rows:
            row.repo = repo
            attempt(request, lambda row=row: access.answer(actor=actor, row=row, state=action))  # type: ignore[misc]
    return redirect("/settings/access" if asked.get("back") else f"{repo.get_absolute_url()}/access")


def _known(request: HttpRequest, owner: str, name: str, task: bool) -> Repo:
    repos = Repo.objects.with_id(f"{owner}/{name}").known_to(actor_of(request)).select_related("owner")
    repo = (repos.tasks() if task else repos.models()).first()
    if repo is None:
        raise Http404("There is no such repo, or you may not see it.")
    return repo


@signed_in
def waiting(request: HttpRequest) -> HttpResponse:
    """Everybody who asks to read something one administers, in one place."""
    return render(request, "people/access.html", {"page_obj": page_of(request, access.waiting_for(actor_of(request)))})
