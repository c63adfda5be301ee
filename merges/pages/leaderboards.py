"""Leaderboards of tasks and suites, suites themselves, and a subject's history."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.repos.models import Kind, Repo
from merges.models import Origin, Suite
from merges.pages import plots
from merges.pages.shared import actor_of, attempt, offered, page_of, repo_or_404, signed_in
from merges.work import leaderboards, suites
from merges.work.evaluating import ask_for_suite
from merges.work.leaderboards import Board, BoardFilters

PAGE = 50


def index(request: HttpRequest) -> HttpResponse:
    """Every task with scores, and every suite."""
    actor = actor_of(request)
    context = {"tasks": leaderboards.judged_tasks(actor), "suites": Suite.objects.newest().select_related("owner")}
    return render(request, "judging/leaderboards.html", context)


def _filters(request: HttpRequest) -> tuple[BoardFilters, str]:
    found, error = attempt(request, lambda: leaderboards.read_filters(request.GET))
    return found or BoardFilters(), error


def _scatter(entries: Board) -> Any:
    dots = [
        plots.Dot(
            float(entry.parameters or 1), entry.score, entry.low, entry.high, entry.subject,
            f"/evaluations/{entry.key}", f"dot-{entry.origin}",
        )
        for entry in entries.points()
    ]  # fmt: skip
    return plots.scatter(dots, x_label="trained parameters (of a base: all)", y_label="score")


def _board(request: HttpRequest, entries: Board, error: str, context: dict[str, Any], name: str) -> HttpResponse:
    if request.GET.get("format") == "csv":
        response = HttpResponse(leaderboards.as_csv(entries), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="leaderboard-{name}.csv"'
        return response
    context |= {
        "page_obj": page_of(request, entries, PAGE), "plot": _scatter(entries), "query": request.GET,
        "origins": Origin.choices, "csv": _with(request, format="csv"),
        "offered": offered(actor_of(request), Kind.ADAPTER, Kind.BASE), "floor": max(0.0, entries.lowest // 0.1 * 0.1),
    }  # fmt: skip
    return render(request, "judging/leaderboard.html", context, status=422 if error else 200)


def _with(request: HttpRequest, **more: str) -> str:
    query = request.GET.copy()
    query.pop("page", None)
    for key, value in more.items():
        query[key] = value
    return "?" + query.urlencode()


def task_board(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """One task's leaderboard."""
    task = repo_or_404(request, owner, name, task=True)
    actor = actor_of(request)
    filters, error = _filters(request)
    entries = leaderboards.task_board(actor, task, filters)
    context = {"task": task, "revision": filters.revision or leaderboards.newest_sha(actor, task)}
    return _board(request, entries, error, context, name)


def suite_list(request: HttpRequest) -> HttpResponse:
    """Every suite, and the form for a new one."""
    actor, asked, error = actor_of(request), request.POST, ""
    if request.method == "POST":
        names = asked.getlist("task")
        made, error = attempt(
            request,
            lambda: suites.publish_suite(
                actor=actor, name=asked.get("name", ""), title=asked.get("title", ""),
                description=asked.get("description", ""), parts=[suites.Part(task) for task in names],
            ),
        )  # fmt: skip
        if made:
            return redirect(made.get_absolute_url())
    tasks = listing(actor, Filters(kind=(Kind.TASK,)), "name").filter(private=False)[:200]
    context = {"suites": Suite.objects.newest().select_related("owner"), "tasks": tasks, "asked": asked,
               "chosen": asked.getlist("task"), "error": error}  # fmt: skip
    return render(request, "judging/suites.html", context, status=422 if error else 200)


def suite(request: HttpRequest, name: str, version: int) -> HttpResponse:
    """A suite's tasks and its leaderboard; asking for a subject to be judged on all of it."""
    row = Suite.objects.filter(name=name, version=version).select_related("owner").first()
    if row is None:
        raise Http404("There is no such suite.")
    actor = actor_of(request)
    if request.method == "POST":
        return _ask(request, row)
    filters, error = _filters(request)
    context = {
        "suite": row, "entries": suites.visible_entries(actor, row),
        "versions": Suite.objects.filter(name=name).values_list("version", flat=True),
    }  # fmt: skip
    return _board(request, leaderboards.suite_board(actor, row, filters), error, context, name)


@signed_in
def _ask(request: HttpRequest, row: Suite) -> HttpResponse:
    subject = request.POST.get("subject", "").strip()
    rows, _error = attempt(request, lambda: ask_for_suite(actor=actor_of(request), suite=row, subject=subject))
    if not rows:
        return redirect(row.get_absolute_url())
    job = next((item.job for item in rows if item.score is None and item.job), None)
    return redirect(job.get_absolute_url() if job else row.get_absolute_url())


def history(request: HttpRequest) -> HttpResponse:
    """A subject's scores on a task over its revisions."""
    actor = actor_of(request)
    found = []
    for key, kinds in (("subject", (Kind.ADAPTER, Kind.BASE)), ("task", (Kind.TASK,))):
        named = Repo.objects.with_id(request.GET.get(key, "")).filter(kind__in=kinds).visible_to(actor)
        found.append(named.select_related("owner").first())
    subject, task = found
    if subject is None or task is None:
        raise Http404("Name a subject and a task that you may read.")
    rows = leaderboards.history(actor, subject, task)
    dots = [
        plots.Dot(number, row.score or 0, row.low if row.low is not None else row.score or 0,
                  row.high if row.high is not None else row.score or 0, row.subject_sha[:7], f"/evaluations/{row.pk}",
                  f"dot-{row.origin}")
        for number, row in enumerate(rows)
    ]  # fmt: skip
    plot = plots.series(dots, [row.subject_sha[:7] for row in rows], y_label="score", x_label="revisions")
    return render(request, "judging/history.html", {"subject": subject, "task": task, "rows": rows, "plot": plot})
