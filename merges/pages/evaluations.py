"""Evaluations: the table, one in detail, and asking for one."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.repos.models import Kind, Repo
from merges.evaluation import items as item_files
from merges.evaluation import metrics
from merges.models import Evaluation
from merges.pages import plots
from merges.pages.shared import actor_of, attempt, offered, page_of, signed_in
from merges.work import pairing
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
    known = offered(actor_of(request), Kind.ADAPTER, Kind.BASE, Kind.TASK)
    return render(request, "work/evaluations.html", {"page_obj": page, "query": request.GET, "offered": known})


def _one(request: HttpRequest, pk: int) -> Evaluation:
    row = (
        Evaluation.objects.visible_to(actor_of(request))
        .select_related("subject__owner", "task__owner", "base__owner", "job", "owner")
        .filter(pk=pk)
        .first()
    )
    if row is None:
        raise Http404("There is no such evaluation, or you may not see it.")
    return row


def evaluation(request: HttpRequest, pk: int) -> HttpResponse:
    """Scores, intervals, comparisons with its relatives, confusion, and where its items are."""
    row = _one(request, pk)
    labels, matrix = row.scores.get("labels", []), row.scores.get("confusion", [])
    values, intervals = row.scores.get("values", {}), row.scores.get("intervals", {})
    scores = [
        {"name": metrics.title(name), "value": value, "low": intervals.get(name, [None, None])[0],
         "high": intervals.get(name, [None, None])[1], "is_share": 0 <= value <= 1}
        for name, value in sorted(values.items(), key=lambda item: (item[0] != row.metric, item[0]))
    ]  # fmt: skip
    readable = Evaluation.objects.visible_to(actor_of(request))
    pairs = row.paired.filter(other__in=readable).select_related("other__subject__owner")
    context = {
        "row": row, "scores": scores, "metric": metrics.title(row.metric),
        "pairs": pairing.shown(pairs), "confused": _confused(labels, matrix),
        "confusion": plots.confusion(labels, matrix, f"/evaluations/{row.pk}/items" if row.items_id else ""),
    }  # fmt: skip
    return render(request, "work/evaluation.html", context)


def _confused(labels: list[str], matrix: list[list[int]]) -> list[dict[str, Any]]:
    """The label pairs that were most often taken for each other."""
    cells: list[dict[str, Any]] = [
        {"expected": labels[row], "predicted": labels[column], "count": count, "share": count / (sum(line) or 1)}
        for row, line in enumerate(matrix)
        for column, count in enumerate(line)
        if count and row != column
    ]
    return sorted(cells, key=lambda cell: -cell["count"])[:10]


def items(request: HttpRequest, pk: int) -> HttpResponse:
    """The items of an evaluation: the worst first, or those of one cell of the confusion matrix."""
    row = _one(request, pk)
    if row.items_id is None:
        raise Http404("The items of this evaluation were not kept.")
    asked = request.GET
    found = item_files.select(
        item_files.read(pairing.read_items(row.items_id)), show=asked.get("show", "worst"),
        expected=asked.get("expected", ""), predicted=asked.get("predicted", ""),
    )  # fmt: skip
    context = {"row": row, "page_obj": page_of(request, found), "query": asked, "labels": row.scores.get("labels", [])}
    return render(request, "work/items.html", context)


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
