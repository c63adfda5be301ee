"""The maintainers' queue: the list, its rules, the samples of what rules accepted, and who looks at an item."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from hub.numerals import whole
from hub.repos.models import Kind
from hub.review import queue, replies, rules
from hub.review.models import Reason, Risk
from merges.pages.shared import actor_of, attempt, page_of, repo_or_404, request_or_404, signed_in


def page(request: HttpRequest) -> HttpResponse:
    """What waits, the oldest due first."""
    actor = actor_of(request)
    found = page_of(request, queue.queue(actor, queue.read_filters(request.GET)))
    found.object_list = queue.adorn(list(found.object_list))
    context = {
        "page_obj": found, "query": request.GET, "reasons": Reason.choices, "kinds": Kind.choices,
        "risks": [label.lower() for _value, label in Risk.choices], "statistics": queue.statistics(actor),
        "samples": rules.waiting_samples(actor).count() if actor.is_maintainer else 0,
    }  # fmt: skip
    return render(request, "judging/queue.html", context)


@signed_in
def looking(request: HttpRequest, owner: str, name: str, number: int, task: bool = False) -> HttpResponse:
    """A maintainer is still here: remember it, answer who else is."""
    row, actor = request_or_404(repo_or_404(request, owner, name, task=task), number), actor_of(request)
    if request.method == "POST":
        queue.look(actor, row)
    lookers = queue.lookers(row, actor) if actor.is_maintainer else []
    return render(request, "judging/lookers.html", {"row": row, "lookers": lookers, "url": row.repo.get_absolute_url()})


@signed_in
def rule_list(request: HttpRequest) -> HttpResponse:
    """The written rules of acceptance, and the samples that wait for a second look."""
    actor, asked, error = actor_of(request), request.POST, ""
    if request.method == "POST":
        work = {
            "make": lambda: rules.make(actor=actor, asked=asked.dict()),
            "switch": lambda: rules.switch(actor=actor, key=asked.get("rule", ""), on=asked.get("on") == "1"),
            "judge": lambda: rules.judge(actor=actor, key=asked.get("sample", ""), agreed=asked.get("agreed") == "1"),
        }.get(asked.get("action", ""))
        _done, error = attempt(request, work) if work else (None, "")
        if not error:
            return redirect(request.path)
    context = {"rules": rules.all_rules(), "samples": rules.waiting_samples(actor)[:100], "asked": asked,
               "error": error, "may": actor.is_maintainer and actor.may_write}  # fmt: skip
    return render(request, "judging/rules.html", context, status=422 if error else 200)


def reply_list(request: HttpRequest) -> HttpResponse:
    """The canned replies by group; maintainers write, change and delete them here."""
    actor, asked, error = actor_of(request), request.POST, ""
    key = whole(asked.get("reply"))
    if request.method == "POST":
        if asked.get("action") == "delete" and key is not None:
            number = key
            _done, error = attempt(request, lambda: replies.delete(actor=actor, key=number))
        else:
            _done, error = attempt(request, lambda: replies.save(actor=actor, asked=asked.dict(), key=key))
        if not error:
            return redirect(request.path)
    context = {"groups": replies.groups(), "asked": asked, "key": key, "error": error,
               "may": actor.is_maintainer and actor.may_write}  # fmt: skip
    return render(request, "judging/replies.html", context, status=422 if error else 200)
