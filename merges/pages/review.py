"""Change requests: the list of a repo, one of them, and what is done there."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from hub.repos import trees
from hub.repos.changes import Inline, Put
from hub.repos.models import Commit
from hub.review import change_requests, decisions, merging
from hub.review.models import ChangeRequest, State
from hub.rights import Verb, can
from merges.pages import acting, diff_view, reconciling
from merges.pages.shared import actor_of, attempt, page_of, repo_or_404, repo_page, request_or_404, signed_in


def discussions(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """The change requests of one repo."""
    repo = repo_or_404(request, owner, name, task=task)
    rows = repo.change_requests.select_related("author")
    return repo_page(request, "work/change_requests.html", repo, "discussions", page_obj=page_of(request, rows))


def change_request(request: HttpRequest, owner: str, name: str, number: int, task: bool = False) -> HttpResponse:
    """What is proposed, what the checks say, what was said, and the decision."""
    repo = repo_or_404(request, owner, name, task=task)
    row, actor = request_or_404(repo, number), actor_of(request)
    head = trees.resolve_commit(repo, row.ref)
    base = Commit.objects.get(repo=repo, sha=row.base)
    ends = diff_view.Ends(repo, base, repo, head, row.get_absolute_url())
    return repo_page(
        request, "work/change_request.html", repo, "discussions",
        **diff_view.context(request, actor, ends), three=reconciling.panel(actor, row),
        row=row, head=head, **acting.context(actor, row, head), conflicts=merging.conflicts(row),
        may_decide=row.state == State.OPEN and decisions.may_decide(actor, row),
        may_steer=change_requests.may_steer(actor, row),
        may_merge=row.state in (State.OPEN, State.DRAFT) and can(actor, Verb.WRITE, repo),
    )  # fmt: skip


@signed_in
@require_POST
def act(request: HttpRequest, owner: str, name: str, number: int, task: bool = False) -> HttpResponse:
    """Comment, decide, merge, close or reopen: one button, one room function."""
    repo = repo_or_404(request, owner, name, task=task)
    row, actor, asked = request_or_404(repo, number), actor_of(request), request.POST.copy()
    pictures, _error = attempt(request, lambda: acting.pictures(actor, request.FILES.getlist("pictures")))
    if pictures:
        asked["text"] = f"{asked.get('text', '')}\n\n{pictures}".strip()
    work = acting.action(actor, row, asked)
    if work is not None and pictures is not None:
        attempt(request, work)
    return redirect(f"{row.get_absolute_url()}{acting.anchor(asked)}")


@signed_in
def propose(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Open a change request by sending the files it changes, or a question without any."""
    repo = repo_or_404(request, owner, name, task=task)
    if request.method != "POST":
        return repo_page(request, "work/propose.html", repo, "discussions")
    actor, asked = actor_of(request), request.POST
    puts = [Put(file.name, Inline(file.read())) for file in request.FILES.getlist("files") if file.name]

    title, description = asked.get("title", ""), asked.get("description", "")

    def work() -> ChangeRequest:
        if puts:
            return change_requests.propose(actor=actor, repo=repo, changes_=puts, title=title, description=description)[
                0
            ]
        return change_requests.open_change_request(
            actor=actor, repo=repo, title=title, description=description, talk=True
        )

    row, error = attempt(request, work, announced=False)
    if row:
        return redirect(row.get_absolute_url())
    response = repo_page(request, "work/propose.html", repo, "discussions", error=error, asked=asked)
    response.status_code = 422
    return response
