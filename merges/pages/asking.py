"""The page where one asks the hub: the answer, which specialist gave it, and why that one."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from adapters.answering import line
from adapters.models import Embedding
from hub.accounts.actor import Actor
from hub.pages.errors import describe
from hub.repos.models import Kind, Repo
from merges.pages.shared import actor_of

MOST_INPUTS, MOST_LETTERS = 16, 20_000
OFFERED, OFFERED_TRIES = 50, 4
WAYS = (
    ("", "as usual"),
    ("surest", "the surer of the best two, where it is close"),
    ("best", "the best specialist"),
    ("each", "each of the first three"),
    ("soft", "one blended from the first three"),
)


def ask(request: HttpRequest) -> HttpResponse:
    """The form; on POST the inputs (one a line) are routed and answered."""
    actor, asked = actor_of(request), request.POST if request.method == "POST" else request.GET
    about = line.about() or {}
    told: dict[str, Any] = {}
    error, status = "", 200
    inputs = [text.strip() for text in asked.get("texts", "").splitlines() if text.strip()]
    if request.method == "POST":
        if not 0 < len(inputs) <= MOST_INPUTS:
            error, status = f"There are {len(inputs)} inputs; write between 1 and {MOST_INPUTS}, one a line.", 422
        else:
            told, error, status = _told(actor, payload_of(asked, inputs))
    _describe(actor, told)
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
            "asked": asked, "told": told, "tries": _tries(actor) if not inputs else [],
            "error": error, "bases": bases, "routers": about.get("routers", []),
            "offered": models, "model": asked.get("model", ""),
            "ways": WAYS, "apply": asked.get("apply", ""), "nobody": not about,
        },
        status=200 if request.headers.get("HX-Request") else status,  # htmx swaps in only what succeeded
    )  # fmt: skip


def _describe(actor: Actor, told: dict[str, Any]) -> None:
    """Say beside each answer what its specialist is for, in its owner's words."""
    said = [one for row in told.get("answers", []) for one in (row["answer"], *row["others"]) if one]
    names = {str(one["repo"]) for one in said}
    wanted = Q(pk__in=[])
    for name in names:
        owner, _, repo = name.partition("/")
        wanted |= Q(owner__name=owner, name=repo)
    known = {repo.full_name: repo.description for repo in Repo.objects.models().visible_to(actor).filter(wanted)
             .select_related("owner")} if names else {}  # fmt: skip
    for one in said:
        one["purpose"] = known.get(str(one["repo"]), "")


def _tries(actor: Actor) -> list[str]:
    """A few inputs that some specialist knows, of different tasks, for who has none at hand."""
    rows = Embedding.objects.visible_to(actor).filter(method="texts", repo__kind=Kind.ADAPTER).order_by("-pk")
    found: dict[Any, str] = {}
    for source, first, second in rows.values_list("source", "texts__0", "texts__1")[:12]:
        text = next((one for one in (first, second) if isinstance(one, str) and 8 <= len(one) <= 120), "")
        if text and "\n" not in text:
            found.setdefault(source or text, text)
    return list(dict.fromkeys(found.values()))[:OFFERED_TRIES]


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
