"""The page where one asks the hub: the answer, which specialist gave it, and why that one."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from adapters.answering import line
from hub.pages.errors import describe
from hub.repos.models import Kind, Repo
from merges.pages.shared import actor_of

MOST_INPUTS, MOST_LETTERS = 16, 20_000
OFFERED = 50
WAYS = (
    ("", "as usual"),
    ("surest", "the surer of the best two, where it is close"),
    ("best", "the best specialist"),
    ("each", "each of the first three"),
    ("soft", "one blended from the first three"),
)


def ask(request: HttpRequest) -> HttpResponse:
    """The form; on POST the inputs (one a line) are routed and answered."""
    actor, asked = actor_of(request), request.POST
    about = line.about() or {}
    told: dict[str, Any] = {}
    error, status = "", 200
    inputs = [text.strip() for text in asked.get("texts", "").splitlines() if text.strip()]
    if request.method == "POST":
        if not 0 < len(inputs) <= MOST_INPUTS:
            error, status = f"There are {len(inputs)} inputs; write between 1 and {MOST_INPUTS}, one a line.", 422
        else:
            told, error, status = _told(actor, payload_of(asked, inputs))
    told |= {"route_ms": 1000 * told.get("route_seconds", 0.0)}
    for row, text in zip(told.get("answers", []), inputs, strict=False):
        row["text"] = text
    seen = Repo.objects.visible_to(actor).exclude(head="").select_related("owner")
    bases = seen.filter(kind=Kind.BASE).order_by("name")[:200]
    models = [
        *seen.filter(kind=Kind.SYSTEM).order_by("name")[:OFFERED],
        *seen.filter(kind=Kind.ADAPTER).order_by("-updated_at")[:OFFERED],
    ]
    return render(
        request,
        "work/ask.html",
        {
            "asked": asked, "told": told, "error": error, "bases": bases, "routers": about.get("routers", []),
            "models": models, "model": asked.get("model", request.GET.get("model", "")),
            "ways": WAYS, "apply": asked.get("apply", ""), "nobody": not about,
        },
        status=200 if request.headers.get("HX-Request") else status,  # htmx swaps in only what succeeded
    )  # fmt: skip


def payload_of(asked: Any, inputs: list[str]) -> dict[str, Any]:
    """What the form asks the worker."""
    labels = [label.strip() for label in asked.get("labels", "").split(",") if label.strip()]
    return {
        "texts": [text[:MOST_LETTERS] for text in inputs], "hint": asked.get("hint", "")[:1000], "labels": labels[:200],
        "model": asked.get("model", "").strip()[:300],
        "base": asked.get("base", ""), "router": asked.get("router", ""), "apply": asked.get("apply", ""), "top": 3,
    }  # fmt: skip


def _told(actor: Any, payload: dict[str, Any]) -> tuple[dict[str, Any], str, int]:
    try:
        return line.ask("predict", actor, payload), "", 200
    except Exception as error:
        known = describe(error)
        if known is None:
            raise
        return {}, known[2], known[0]
