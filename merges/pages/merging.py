"""The workbench: pick inputs, weights and a method; what it would give is shown beside."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.accounts.actor import Actor
from hub.repos.models import Kind, Repo
from merges.methods import DEFAULT, METHODS, Method
from merges.methods.spaces import SPACES
from merges.pages.shared import actor_of, attempt, signed_in
from merges.work.merging import ask_for_merge, look_at

FORMS = (
    ("", "The method's own choice"),
    ("exact", "Exact: smallest rank that loses nothing"),
    ("rank", "Best of a rank"),
    ("energy", "Share of energy, ranks shared out"),
    ("bytes", "At most so many bytes"),
    ("checkpoint", "Whole checkpoint"),
)
SHOWN = 60


@signed_in
def merge(request: HttpRequest) -> HttpResponse:
    """The form; on POST the recipe is linted ("check"), its inputs are searched ("find"), or it is queued."""
    actor, asked = actor_of(request), request.POST or request.GET
    chosen = chosen_of(asked)
    problems: list[Any] = []
    error = ""
    if request.method == "POST" and "find" not in asked:
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
    method = METHODS.get(asked.get("merge_method", DEFAULT)) or METHODS[DEFAULT]
    checked_now = request.method == "POST" and "check" in asked and not error
    context = {
        "adapters": _adapters(actor, asked, chosen), "methods": METHODS.values(), "method": method, "forms": FORMS,
        "parameters": _parameters(method, asked), "spaces": SPACES if method.projects else (), "asked": asked,
        "problems": problems, "error": error, "checked": checked_now, "tab": "build", "chosen": chosen,
        "learns": "lambda" in _names(method) or method.searched or method.routed,
    }  # fmt: skip
    return render(request, "work/merge.html", context, status=422 if error else 200)


def chosen_of(asked: Any) -> list[str]:
    """The inputs ticked, each once, in their order."""
    return list(dict.fromkeys(name for name in asked.getlist("input") if name))


def _adapters(actor: Actor, asked: Any, chosen: list[str]) -> list[dict[str, Any]]:
    """What is chosen first, then what the search finds."""
    found = list(listing(actor, Filters(q=asked.get("q", ""), kind=(Kind.ADAPTER,)), "name")[:SHOWN])
    known = {item.full_name for item in found}
    for name in chosen:
        if name not in known and name.count("/") == 1:
            found += Repo.objects.with_id(name).visible_to(actor).filter(kind=Kind.ADAPTER).select_related("owner")
    rows = [
        {"name": item.full_name, "base": item.facts.get("base"), "method": item.facts.get("method"),
         "weight": asked.get(f"weight:{item.full_name}", "1.0"), "chosen": item.full_name in chosen}
        for item in found
    ]  # fmt: skip
    return sorted(rows, key=lambda row: not row["chosen"])


def _parameters(method: Method, asked: Any) -> list[dict[str, Any]]:
    return [
        {"name": item.name, "help": item.help, "choices": item.choices, "default": item.default,
         "value": asked.get(f"parameter:{item.name}", item.default if item.choices else "")}
        for item in method.parameters
    ]  # fmt: skip


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
    if asked.get("space", "dense") != "dense" and declared and declared.projects:
        raw["space"] = asked["space"]
    tasks = [name.strip() for name in asked.get("select", "").replace(",", " ").split()]
    if tasks:
        grid = {"lambda": [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5]} if "lambda" in _names(declared) else {}
        raw["select"] = {"tasks": tasks, **({"grid": grid} if grid else {})}
    if output := _output(asked):
        raw["output"] = output
    base = asked.get("base", "").strip()
    return raw | ({"base": base} if base else {})


def _names(method: Method | None) -> set[str]:
    return {parameter.name for parameter in method.parameters} if method else set()


def _output(asked: Any) -> dict[str, Any]:
    form, value = asked.get("form", ""), asked.get("rank", "").strip()
    key = {"energy": "energy", "bytes": "max_bytes"}.get(form, "rank")
    if form in ("", "rank"):
        return {"form": "rank", "rank": number(value)} if value else {}
    return {"form": form} | ({key: number(value)} if value and form in ("energy", "bytes") else {})


def number(text: str) -> Any:
    """A number if it is one, else the text."""
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
