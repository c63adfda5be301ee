"""The merge lab beside the workbench: recipe editor, preview, comparisons, statistics, gallery, one merge."""

from __future__ import annotations

from typing import Any

import yaml
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.numerals import key_of, whole
from hub.pages.errors import describe
from hub.repos.models import Kind, Repo
from hub.rights import owners_for
from merges.methods import DEFAULT, METHODS
from merges.models import Evaluation, Merge, MergeComparison
from merges.pages import lab_drawings
from merges.pages.jobs import shown
from merges.pages.merging import chosen_of, recipe_from
from merges.pages.shared import actor_of, attempt, page_of, signed_in
from merges.recipes import RecipeError, parse, to_yaml
from merges.work.comparing import DEFAULT_METHODS, ask_for_comparison, publish_winner
from merges.work.measuring import ESTIMATORS, KINDS, ask_for_statistics
from merges.work.merging import ask_for_merge, linted
from merges.work.previewing import preview_of
from merges.work.showing import recipe_for, report_for
from merges.work.suggesting import partners

MOST_TEXT = 20_000
EXAMPLE = """merge_method: tsv_m
inputs:
  - {adapter: owner/one, weight: 1.0}
  - {adapter: owner/two, weight: 1.0}
parameters:
  lambda: auto
output:
  form: exact
"""


def look(request: HttpRequest, raw: Any) -> dict[str, Any]:
    """What the preview panel shows of a recipe."""
    if isinstance(raw, dict) and not raw.get("inputs"):
        return {"lint": {"ok": False, "problems": []}, "preview": None, "waiting": []}  # nothing chosen is no error
    checked = linted(actor_of(request), raw)
    answer: dict[str, Any] = {"lint": checked, "preview": None, "waiting": []}
    if isinstance(raw, dict):  # the workbench, whose form can take what is suggested
        answer["partners"] = partners(actor_of(request), [entry["adapter"] for entry in raw["inputs"]])
    if checked["ok"]:
        found = preview_of(actor_of(request), raw)
        answer |= {"preview": found["preview"], "waiting": found["waiting"]}
        if found["preview"]:
            told = found["preview"]
            answer["cosines"] = lab_drawings.matrix(told["cosines"], told["inputs"], "Cosine")
            answer["aligned"] = lab_drawings.matrix(
                told["input_alignment"], told["inputs"], "Share of input directions"
            )
            answer["norms"] = list(zip(told["inputs"], told["norms"], strict=True))
    return answer


@signed_in
def recipe(request: HttpRequest) -> HttpResponse:
    """The editor: YAML with live lint and preview.

    `?from=` starts from a merge's recipe (fork), `?recipe=` from a text.
    """
    actor = actor_of(request)
    text, target = request.POST.get("recipe", ""), request.POST.get("target", request.GET.get("target", ""))
    error = ""
    if request.method == "POST" and "go" in request.POST:
        made, error = attempt(request, lambda: ask_for_merge(actor=actor, raw=text, target=target))
        if made:
            return redirect(made.job.get_absolute_url())
    text = text or request.GET.get("recipe", "")[:MOST_TEXT] or _forked(request)
    panel = _panel(request, text) if text else {"lint": {"ok": False, "problems": []}}
    text = text or EXAMPLE
    context = {"text": text, "target": target, "error": error, "tab": "recipe", "methods": METHODS.values()}
    return render(request, "merges/recipe.html", context | panel, status=422 if error else 200)


def _forked(request: HttpRequest) -> str:
    """The recipe of a merge, without what this person may not read."""
    source = request.GET.get("from", "")
    row = Merge.objects.visible_to(actor_of(request)).filter(pk=key_of(source)).first()
    if row is None:
        return ""
    try:
        return to_yaml(parse(recipe_for(actor_of(request), row)))
    except RecipeError:
        return ""


def _panel(request: HttpRequest, raw: Any) -> dict[str, Any]:
    """The preview panel's context; what cannot be looked at is a sentence in the panel."""
    try:
        return look(request, raw)
    except Exception as error:
        known = describe(error)
        if known is None:
            raise
        return {"lint": {"ok": False, "problems": [], "yaml": None}, "fault": known[2]}


@require_POST
def preview(request: HttpRequest) -> HttpResponse:
    """The panel alone, for a YAML text or the workbench's form."""
    text = request.POST.get("recipe")
    raw = text if text is not None else recipe_from(request.POST, chosen_of(request.POST))
    return render(request, "merges/preview.html", _panel(request, raw))


def gallery(request: HttpRequest) -> HttpResponse:
    """Recipes that ran and whose results one may read, the newest first."""
    found = (
        Merge.objects.visible_to(actor_of(request)).exclude(result_sha="").select_related("repo__owner", "owner", "job")
    )
    if request.GET.get("method") in METHODS:
        found = found.filter(recipe__merge_method=request.GET["method"])
    page = page_of(request, found, 20)
    rows = [_card(request, row) for row in page.object_list]
    context = {
        "page_obj": page,
        "rows": rows,
        "methods": METHODS.values(),
        "method": request.GET.get("method", ""),
        "tab": "gallery",
    }
    return render(request, "merges/gallery.html", context)


def _card(request: HttpRequest, row: Merge) -> dict[str, Any]:
    shown_recipe = recipe_for(actor_of(request), row)
    method = METHODS.get(shown_recipe["merge_method"])
    return {
        "row": row,
        "title": method.title if method else shown_recipe["merge_method"],
        "inputs": [entry.get("adapter") or entry.get("model") for entry in shown_recipe["inputs"]],
        "totals": row.report.get("totals", {}),
    }


def merge(request: HttpRequest, pk: int) -> HttpResponse:
    """One merge: recipe, report, lineage, scores; fork it or run it again."""
    row = (
        Merge.objects.visible_to(actor_of(request)).select_related("repo__owner", "owner", "job").filter(pk=pk).first()
    )
    if row is None:
        raise Http404("There is no such merge, or you may not see it.")
    told, shown_recipe = report_for(actor_of(request), row), recipe_for(actor_of(request), row)
    names = [entry.get("adapter") or entry.get("model") for entry in shown_recipe["inputs"]]
    layers = sorted(told.get("layers", []), key=lambda layer: -layer["norm"])
    scores = Evaluation.objects.visible_to(actor_of(request)).filter(subject=row.repo, subject_sha=row.result_sha)
    context = {
        "row": row,
        "job": shown(request, row.job),
        "progress_url": row.job.get_absolute_url(),
        "totals": told.get("totals"),
        "inputs": [dict(entry, name=name) for entry, name in zip(shown_recipe["inputs"], names, strict=True)],
        "method": METHODS.get(shown_recipe["merge_method"]),
        "layers": layers[:60],
        "hidden_layers": max(0, len(layers) - 60),
        "trials": told.get("trials", []),
        "yaml": _text_of(shown_recipe),
        "cosines": lab_drawings.matrix(told["cosines"], names, "Cosine") if told.get("cosines") else "",
        "scores": scores.exclude(score=None).select_related("task__owner"),
        "names": names,
    }
    return render(request, "merges/merge.html", context)


def _text_of(shown_recipe: dict[str, Any]) -> str:
    """The recipe in its canonical order; as it is stored where a later version would not read it."""
    try:
        return to_yaml(parse(shown_recipe))
    except RecipeError:
        return yaml.safe_dump(shown_recipe, allow_unicode=True)


@signed_in
def compare(request: HttpRequest) -> HttpResponse:
    """The form of a comparison, and the comparisons one may see."""
    actor, asked = actor_of(request), request.POST or request.GET
    error = ""
    if request.method == "POST":
        made, error = attempt(
            request,
            lambda: ask_for_comparison(
                actor=actor,
                inputs=asked.getlist("input"),
                methods=asked.getlist("method"),
                validation=_whole(asked.get("validation"), 128),
                test=_whole(asked.get("test"), 500),
                fresh=asked.get("fresh") == "on",
            ),
        )
        if made:
            return redirect(made.get_absolute_url())
    chosen = asked.getlist("input")
    adapters = listing(actor, Filters(q=asked.get("q", ""), kind=(Kind.ADAPTER,)), "name")[:100]
    rows = MergeComparison.objects.visible_to(actor).select_related("owner", "job")
    context = {
        "adapters": sorted(
            (
                {"name": item.full_name, "base": item.facts.get("base"), "chosen": item.full_name in chosen}
                for item in adapters
            ),
            key=lambda item: not item["chosen"],
        ),
        "choices": _choices(asked.getlist("method") or list(DEFAULT_METHODS)),
        "asked": asked,
        "error": error,
        "page_obj": page_of(request, rows, 20),
        "tab": "compare",
    }
    return render(request, "merges/compare.html", context, status=422 if error else 200)


def _whole(text: Any, otherwise: int) -> int:
    number = whole(text, 5000)
    return otherwise if number is None else max(8, number)


def _choices(chosen: list[str]) -> list[dict[str, Any]]:
    offered = []
    for name, method in METHODS.items():
        if method.routed or name == "mean" or (method.inputs_maximum or 99) < 3:
            continue
        needs = f"needs {' and '.join(method.needs)} statistics" if method.needs else ""
        offered.append(
            {
                "name": name,
                "title": method.title,
                "note": needs or ("slow: searches weights" if method.searched else "the default" * (name == DEFAULT)),
            }
        )
        if name == "ties":
            offered += [
                {"name": f"{name}+{space}", "title": f"{method.title} in {space} space", "note": ""}
                for space in ("core", "knots")
            ]
    return [entry | {"chosen": entry["name"] in chosen} for entry in offered]


def comparison(request: HttpRequest, pk: int) -> HttpResponse:
    """One comparison: progress while it runs, then the report; the winner can be published."""
    row = MergeComparison.objects.visible_to(actor_of(request)).select_related("owner", "job").filter(pk=pk).first()
    if row is None:
        raise Http404("There is no such comparison, or you may not see it.")
    told, error = row.report, ""
    if request.method == "POST":
        asked = request.POST
        made, error = attempt(
            request,
            lambda: publish_winner(
                actor=actor_of(request),
                comparison=row,
                target=asked.get("target", ""),
                method=asked.get("method") or None,
            ),
        )
        if made:
            return redirect(made.job.get_absolute_url())
    base = next((entry["accuracy"] for entry in told.get("rows", []) if entry["name"] == "base"), None)
    tasks = [task["name"] for task in told.get("tasks", [])]
    context = {
        "row": row,
        "job": shown(request, row.job),
        "progress_url": row.job.get_absolute_url(),
        "report": told,
        "base": base,
        "rows": [entry | {"cells": [entry["tasks"][task] for task in tasks]} for entry in told.get("rows", [])],
        "tasks": tasks,
        "curves": lab_drawings.curves(told.get("methods", [])),
        "chosen": _chosen(told),
        "cross": _cross(told, tasks),
        "winner": told.get("winner"),
        "cosines": _cosines(told),
        "inputs": [entry["adapter"] for entry in row.order["inputs"]],
        "error": error,
        "tab": "compare",
        "on_train": sorted(name for name, split in told.get("chosen_on", {}).items() if split == "train"),
    }
    return render(request, "merges/comparison.html", context, status=422 if error else 200)


def _cross(told: dict[str, Any], tasks: list[str]) -> list[dict[str, Any]]:
    return [
        {"name": line["name"], "cells": [line["accuracies"][task] for task in tasks]} for line in told.get("cross", [])
    ]


def _chosen(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The λ that each method got on validation, and how well it did there."""
    lines = []
    for method in told.get("methods", []):
        scale = method["recipe"].get("parameters", {}).get("lambda")
        trial = next((one for one in method["trials"] if one["settings"].get("lambda") == scale), None)
        if trial is not None:
            accuracies = list(trial["accuracies"].values())
            accuracy, tries = sum(accuracies) / len(accuracies), len(method["trials"])
            lines.append({"name": method["name"], "scale": scale, "accuracy": accuracy, "tries": tries})
    return lines


def _cosines(told: dict[str, Any]) -> Any:
    found = next(iter(told.get("methods", [])), None)
    return lab_drawings.matrix(found["geometry"]["cosines"], told["inputs"], "Cosine") if found else ""


@signed_in
def statistics(request: HttpRequest) -> HttpResponse:
    """Ask for the statistics of an adapter one may write to."""
    actor, asked = actor_of(request), request.POST or request.GET
    error = ""
    if request.method == "POST":
        job, error = attempt(
            request,
            lambda: ask_for_statistics(
                actor=actor,
                adapter=asked.get("adapter", ""),
                task=asked.get("task") or None,
                kinds=tuple(asked.getlist("kind")),
                estimator=asked.get("estimator", "exact"),
                likelihood=asked.get("likelihood", "label"),
                examples=_whole(asked.get("examples"), 256),
            ),
        )
        if job:
            return redirect(job.get_absolute_url())
    mine = Repo.objects.visible_to(actor).filter(kind=Kind.ADAPTER, owner__in=owners_for(actor)).exclude(head="")
    tasks = listing(actor, Filters(kind=(Kind.TASK,)), "name")[:200]
    context = {
        "adapters": mine.select_related("owner").order_by("name"),
        "tasks": tasks,
        "asked": asked,
        "error": error,
        "estimators": ESTIMATORS,
        "likelihoods": (("label", "the task's labels"), ("next_token", "next tokens (causal models)")),
        "tab": "statistics",
        "kinds": [(name, not asked.getlist("kind") or name in asked.getlist("kind")) for name in KINDS],
    }
    return render(request, "merges/statistics.html", context, status=422 if error else 200)
