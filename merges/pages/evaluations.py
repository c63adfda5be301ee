"""Evaluations: the table, one in detail, and asking for one."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.repos.models import Kind, Repo
from merges.models import Evaluation
from merges.pages.shared import actor_of, attempt, page_of, signed_in
from merges.work.evaluating import ask_for_evaluation


def evaluations(request: HttpRequest) -> HttpResponse:
    """Every evaluation one may see; filters in the address."""
    found = Evaluation.objects.visible_to(actor_of(request)).select_related(
        "subject__owner", "task__owner", "base__owner", "job", "owner"
    )
    for field in ("task", "subject", "base"):
        value = request.GET.get(field, "")
        if value.count("/") == 1:
            found = found.filter(**{f"{field}__in": Repo.objects.with_id(value)})
    best = request.GET.get("sort") == "score"
    page = page_of(request, found.order_by("-score") if best else found)
    return render(request, "work/evaluations.html", {"page_obj": page, "query": request.GET})


def evaluation(request: HttpRequest, pk: int) -> HttpResponse:
    """Scores, intervals, confusion and the worst items of one."""
    row = (
        Evaluation.objects.visible_to(actor_of(request))
        .select_related("subject__owner", "task__owner", "base__owner", "job", "owner")
        .filter(pk=pk)
        .first()
    )
    if row is None:
        raise Http404("There is no such evaluation, or you may not see it.")
    labels, confusion = row.scores.get("labels", []), row.scores.get("confusion", [])
    values, intervals = row.scores.get("values", {}), row.scores.get("intervals", {})
    scores = [
        {"name": name, "value": value, "low": intervals.get(name, [None, None])[0],
         "high": intervals.get(name, [None, None])[1]}
        for name, value in values.items()
    ]  # fmt: skip
    lines = [
        {"label": label, "cells": line, "total": sum(line)} for label, line in zip(labels, confusion, strict=False)
    ]
    return render(request, "work/evaluation.html", {"row": row, "labels": labels, "lines": lines, "scores": scores})


@signed_in
def evaluate(request: HttpRequest) -> HttpResponse:
    """Ask for one; on success its job's page."""
    actor, asked, error = actor_of(request), request.POST or request.GET, ""
    if request.method == "POST":
        row, error = attempt(
            request,
            lambda: ask_for_evaluation(actor=actor, subject=asked.get("subject", ""), task=asked.get("task", "")),
        )
        if row:
            return redirect(row.job.get_absolute_url() if row.job and row.score is None else f"/evaluations/{row.pk}")
    subjects = Repo.objects.visible_to(actor).models().exclude(head="").select_related("owner").order_by("name")[:300]
    tasks = listing(actor, Filters(kind=(Kind.TASK,)), "name")[:200]
    context = {"subjects": subjects, "tasks": tasks, "asked": asked, "error": error}
    return render(request, "work/evaluate.html", context, status=422 if error else 200)
