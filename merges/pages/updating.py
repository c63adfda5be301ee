"""The form to send an update of a checkpoint: an adapter, changed tensors, or single values."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from adapters.catalog import updating
from hub.repos.changes import Inline, Put
from hub.rights import Verb, can, require
from merges.pages.shared import actor_of, attempt, repo_or_404, repo_page, signed_in


@signed_in
def page(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Choose files, say what they do; the job's page shows what becomes of them."""
    repo = repo_or_404(request, owner, name, task=task)
    actor, asked = actor_of(request), request.POST
    _, error = attempt(request, lambda: require(actor, Verb.PROPOSE, repo))
    if error:
        return redirect(repo.get_absolute_url())
    may_commit = can(actor, Verb.WRITE, repo)
    if request.method == "POST":
        wanted = updating.Wanted(
            base=asked.get("base") or repo.head or "main",
            message=asked.get("message", "").strip() or "An update",
            puts=[Put(file.name, Inline(file.read())) for file in request.FILES.getlist("files") if file.name],
            description=asked.get("description", ""),
            change_request=not may_commit or asked.get("propose") == "on",
        )
        job, error = attempt(request, lambda: updating.ask(actor, repo, wanted))
        if job:
            return redirect(job.get_absolute_url())
    response = repo_page(
        request, "repos/update.html", repo, "files", asked=asked, base=repo.head, may_commit=may_commit, error=error
    )
    response.status_code = 422 if error else 200
    return response
