"""Files that a change request and its target both changed: a person decides what each becomes."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect

from hub.repos import trees
from hub.repos.models import Commit
from hub.review import change_requests, merging
from hub.review.models import ChangeRequest, State
from hub.review.resolving import Choice, resolve
from merges.pages.shared import actor_of, attempt, repo_or_404, repo_page, request_or_404, signed_in


@signed_in
def page(request: HttpRequest, owner: str, name: str, number: int, task: bool = False) -> HttpResponse:
    """Both sides of each file in conflict; what is decided becomes a commit of the change request."""
    repo = repo_or_404(request, owner, name, task=task)
    row, asked = request_or_404(repo, number), request.POST
    if row.state not in (State.OPEN, State.DRAFT) or not change_requests.may_steer(actor_of(request), row):
        return redirect(row.get_absolute_url())
    error = ""
    if request.method == "POST":
        made, error = attempt(request, lambda: _resolve(request, row))
        if made:
            return redirect(row.get_absolute_url())
    # After an error too both sides are those of now: whoever sends the form again has been shown them.
    ours, theirs = (trees.resolve_commit(repo, ref) for ref in (row.target, row.ref))
    sides = merging.conflicting(row, ours, theirs)
    if not sides:
        return redirect(row.get_absolute_url())
    response = repo_page(
        request, "work/resolve.html", repo, "discussions", row=row, ours=ours, theirs=theirs, error=error,
        files=[_shown(side, asked) for side in sides],
    )  # fmt: skip
    response.status_code = 422 if error else 200
    return response


def _shown(side: merging.Sides, asked: QueryDict) -> dict[str, Any]:
    """One file with what was typed, or as it is offered first."""
    return {"side": side, "text": asked.get(f"text:{side.path}", side.text), "take": asked.get(f"take:{side.path}")}


def _resolve(request: HttpRequest, row: ChangeRequest) -> Commit:
    """Decide by the form, about the commits that it showed."""
    asked = request.POST
    ours, theirs = (trees.resolve_commit(row.repo, asked.get(side, "")) for side in ("ours", "theirs"))
    choices = {}
    for field, value in asked.items():
        kind, _, path = field.partition(":")
        if kind == "take" and value in ("ours", "theirs"):
            choices[path] = Choice("ours" if value == "ours" else "theirs")
        elif kind == "text" and asked.get(f"take:{path}") == "text":
            choices[path] = Choice("text", str(value))
    return resolve(actor=actor_of(request), request=row, ours=ours, theirs=theirs, choices=choices)
