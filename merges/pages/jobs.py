"""The list of jobs, and one job live."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from hub.jobs import queue
from hub.jobs.models import Job, State
from merges.models import Evaluation
from merges.pages.shared import actor_of, attempt, page_of


def jobs(request: HttpRequest) -> HttpResponse:
    """Jobs one may see, newest first; filters in the address."""
    actor = actor_of(request)
    found = Job.objects.visible_to(actor).select_related("repo__owner", "owner")
    if request.GET.get("state") in State.values:
        found = found.filter(state=request.GET["state"])
    if request.GET.get("mine") and actor.account:
        found = found.filter(owner=actor.account)
    page = page_of(request, found)
    return render(
        request,
        "work/jobs.html",
        {
            "page_obj": page,
            "states": State.values,
            "state": request.GET.get("state", ""),
            "mine": request.GET.get("mine"),
        },
    )


def job_or_404(request: HttpRequest, pk: uuid.UUID) -> Job:
    """The job, if this person may see it."""
    row = Job.objects.visible_to(actor_of(request)).select_related("repo__owner", "owner").filter(pk=pk).first()
    if row is None:
        raise Http404("There is no such job, or you may not see it.")
    return row


def job(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """One job; htmx asks for the progress part alone."""
    row = job_or_404(request, pk)
    return _answer(request, row)


@require_POST
def cancel(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Stop a job."""
    row = job_or_404(request, pk)
    attempt(request, lambda: queue.cancel(actor=actor_of(request), job=row))
    row.refresh_from_db()
    return _answer(request, row) if request.headers.get("HX-Request") else redirect(row.get_absolute_url())


def shown(request: HttpRequest, row: Job) -> dict[str, Any]:
    """A job as the progress component shows it."""
    result = _result_of(row) if row.state == State.SUCCEEDED else ""
    end = row.ended_at or timezone.now()
    return {
        "id": str(row.pk), "url": row.get_absolute_url(), "title": row.title, "state": row.state, "done": row.done,
        "total": row.total, "note": row.note, "error": row.error, "attempt": row.attempt, "result_url": result,
        "seconds": (end - row.started_at).total_seconds() if row.started_at else None, "finished": row.has_ended,
        "can_cancel": not row.has_ended and queue.may_cancel(actor_of(request), row),
    }  # fmt: skip


def _result_of(row: Job) -> str:
    """Where to go when it has ended: to what it made."""
    made = getattr(row, "merge_comparison", None) or getattr(row, "teaching", None)
    if made:
        return str(made.get_absolute_url())
    if getattr(row, "merge", None):
        return row.merge.repo.get_absolute_url()  # type: ignore[attr-defined, no-any-return]
    if isinstance(row.result.get("url"), str) and row.result["url"].startswith("/"):
        return str(row.result["url"])
    evaluations = list(Evaluation.objects.filter(job=row)[:2])
    if len(evaluations) == 1:
        return f"/evaluations/{evaluations[0].pk}"
    return row.repo.get_absolute_url() if row.repo else ""


def _answer(request: HttpRequest, row: Job) -> HttpResponse:
    age = (timezone.now() - row.created_at).total_seconds()
    context = {
        "row": row, "job": shown(request, row), "progress_url": row.get_absolute_url(),
        "poll_seconds": 1 if age < 30 else 2 if age < 300 else 5,
    }  # fmt: skip
    fragment = request.headers.get("HX-Request") and not request.headers.get("HX-Boosted")
    return render(request, "components/job_progress.html" if fragment else "work/job.html", context)
