"""Files that a change request and its target both changed: a person decides what each becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect

from hub.review import change_requests, merging
from hub.review.models import ChangeRequest, State
from hub.review.resolving import Choice, resolve
from merges.pages.shared import actor_of, attempt, commit_or_404, repo_or_404, repo_page, request_or_404, signed_in


@signed_in
def page(request: HttpRequest, owner: str, name: str, number: int, task: bool = False) -> HttpResponse:
    """Both sides of each file in conflict; what is decided becomes a commit of the change request."""
    repo = repo_or_404(request, owner, name, task=task)
    row, asked = request_or_404(repo, number), request.POST
    if row.state not in (State.OPEN, State.DRAFT) or not change_requests.may_steer(actor_of(request), row):
        return redirect(row.get_absolute_url())
    ours, theirs = (commit_or_404(repo, asked.get(side) or ref) for side, ref in _refs(row).items())
    sides = merging.conflicting(row, ours, theirs)
    if not sides:
        return redirect(row.get_absolute_url())
    error = ""
    if request.method == "POST":
        made, error = attempt(
            request,
            lambda: resolve(
                actor=actor_of(request), request=row, ours=ours, theirs=theirs, choices=_choices(asked, sides)
            ),
        )  # fmt: skip
        if made:
            return redirect(row.get_absolute_url())
    response = repo_page(
        request, "work/resolve.html", repo, "discussions", row=row, ours=ours, theirs=theirs, error=error,
        files=[_shown(one, number, asked) for number, one in enumerate(sides)],
    )  # fmt: skip
    response.status_code = 422 if error else 200
    return response


def _refs(row: ChangeRequest) -> dict[str, str]:
    return {"ours": row.target, "theirs": row.ref}


def _shown(side: merging.Sides, number: int, asked: QueryDict) -> dict[str, Any]:
    """One file with what was typed, or as it is offered first."""
    return {
        "side": side,
        "number": number,
        "text": asked.get(f"text{number}", side.text),
        "take": asked.get(f"take{number}"),
    }


def _choices(asked: QueryDict, sides: Sequence[merging.Sides]) -> dict[str, Choice]:
    """What the form says of each file; a file without a word is left out."""
    choices = {}
    for number, side in enumerate(sides):
        take, text = asked.get(f"take{number}", ""), asked.get(f"text{number}")
        if take in ("ours", "theirs"):
            choices[side.path] = Choice("ours" if take == "ours" else "theirs")
        elif text is not None and side.text is not None:
            choices[side.path] = Choice("text", text)
    return choices
