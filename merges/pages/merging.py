"""Asking for a merge."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.repos.models import Kind
from merges.methods import METHODS
from merges.pages.shared import actor_of, attempt, signed_in
from merges.work.merging import ask_for_merge, look_at


@signed_in
def merge(request: HttpRequest) -> HttpResponse:
    """The form; on POST the recipe is linted ("check") or queued."""
    actor, asked = actor_of(request), request.POST or request.GET
    chosen = [name for name in asked.getlist("input") if name]
    problems: list[Any] = []
    error = ""
    if request.method == "POST":
        raw = recipe_from(asked, chosen)
        if "check" in asked:
            checked, error = attempt(request, lambda: look_at(actor, raw))
            problems = checked[2] if checked else []
        else:
            made, error = attempt(
                request,
                lambda: ask_for_merge(
                    actor=actor, raw=raw, target=asked.get("target", ""), private=asked.get("private") == "on" or None
                ),
            )
            if made:
                return redirect(made.job.get_absolute_url())
    adapters = listing(actor, Filters(q=asked.get("q", ""), kind=(Kind.ADAPTER,)), "name")[:200]
    method = METHODS.get(asked.get("merge_method", "task_arithmetic")) or METHODS["task_arithmetic"]
    return render(
        request,
        "work/merge.html",
        {
            "adapters": [
                {"name": item.full_name, "base": item.facts.get("base"), "method": item.facts.get("method"),
                 "weight": asked.get(f"weight:{item.full_name}", "1.0"), "chosen": item.full_name in chosen}
                for item in adapters
            ],
            "methods": METHODS.values(),
            "method": method,
            "parameters": [
                {"name": item.name, "help": item.help, "choices": item.choices, "default": item.default,
                 "value": asked.get(f"parameter:{item.name}", item.default if item.choices else "")}
                for item in method.parameters
            ],
            "asked": asked,
            "problems": problems,
            "error": error,
            "checked": request.method == "POST" and "check" in asked and not error,
        },
        status=422 if error else 200,
    )  # fmt: skip


def recipe_from(asked: Any, chosen: list[str]) -> dict[str, Any]:
    """The recipe a form describes. What is no number stays text, for the parser to name."""
    method = asked.get("merge_method", "")
    declared = METHODS.get(method)
    parameters = {}
    for parameter in declared.parameters if declared else ():
        value = asked.get(f"parameter:{parameter.name}", "").strip()
        if value:
            parameters[parameter.name] = number(value)
    raw: dict[str, Any] = {
        "merge_method": method,
        "inputs": [{"adapter": name, "weight": number(asked.get(f"weight:{name}", "1"))} for name in chosen],
        "parameters": parameters,
    }
    rank = asked.get("rank", "").strip()
    if rank:
        raw["output"] = {"form": "rank", "rank": number(rank)}
    return raw


def number(text: str) -> Any:
    """A number if it is one, else the text."""
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
