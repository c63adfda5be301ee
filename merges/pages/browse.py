"""Home, and lists of repos."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from adapters.search.facets import facets
from adapters.search.filters import Filters
from adapters.search.listing import SORTS, listing
from hub.jobs.models import Job, State
from hub.repos.models import Kind, Repo
from hub.review import queue
from merges.models import Evaluation
from merges.pages.shared import actor_of, page_of, rows

TITLES = {"kind": "Kind", "base": "Base", "task": "Task", "method": "Method", "license": "Licence"}


class Door(NamedTuple):
    """One thing to do here: where, its picture, and a sentence."""

    href: str
    glyph: str
    title: str
    text: str


DOORS = (
    Door("/new", "upload", "Publish", "By browser, hf upload or push_to_hub. All go through one door: the same hashes, "
         "checks and history."),
    Door("/teach", "flask-conical", "Teach", "Sixteen to a few hundred labelled examples become a published "
         "specialist in minutes, set beside what it has to beat."),
    Door("/compare", "file-diff", "Look inside", "What a file really holds, read from its bytes, and what changed "
         "between two revisions, tensor by tensor."),
    Door("/merge", "git-merge", "Merge", "Compose the skills of several specialists on their effective updates, with "
         "a preview before and the error after."),
    Door("/ask", "corner-down-right", "Ask", "A router picks the specialist for each input, and says which one spoke "
         "and why. It may answer that none fits."),
    Door("/map", "target", "Find relatives", "Tasks and adapters placed by their texts, their question and their "
         "weights: what is near, and what to start from."),
    Door("/leaderboards", "ruler", "Judge", "Scores with intervals, device, versions and commit ids; maintainers "
         "decide from a queue, and nobody decides their own work."),
    Door("/systems", "layers", "Grow a System", "A base, accepted specialists at pinned revisions and a router, "
         "released in versions that may only get better."),
)  # fmt: skip
"""What one can do here, as the home page shows it."""


def home(request: HttpRequest) -> HttpResponse:
    """What this hub is, what is new, and what waits."""
    actor = actor_of(request)
    visible = Repo.objects.visible_to(actor).exclude(head="")
    newest = listing(actor, Filters(kind=(Kind.ADAPTER,)), known=True)[:6]
    return render(
        request,
        "hub/home.html",
        {
            "counts": [
                ("adapter,adapters", visible.filter(kind=Kind.ADAPTER).count(), "/browse?kind=adapter"),
                ("base,bases", visible.filter(kind=Kind.BASE).count(), "/browse?kind=base"),
                ("task,tasks", visible.filter(kind=Kind.TASK).count(), "/tasks"),
                (
                    "evaluation,evaluations",
                    Evaluation.objects.visible_to(actor).exclude(score=None).count(),
                    "/evaluations",
                ),
                ("waiting for review,waiting for review", queue.queue(actor).count(), "/review"),
            ],
            "doors": DOORS,
            "newest": rows(newest, actor),
            "running": Job.objects.visible_to(actor).filter(state__in=(State.QUEUED, State.RUNNING))[:5],
        },
    )


def browse(request: HttpRequest, kind: str = "") -> HttpResponse:
    """Search with facets; the address is the state."""
    actor, filters = actor_of(request), Filters.from_query(request.GET)
    if kind:
        filters = replace(filters, kind=(kind,))
    page = page_of(request, listing(actor, filters, request.GET.get("sort", "updated"), known=True))
    found = facets(actor, filters)
    cleared = Filters(q=filters.q, kind=filters.kind if kind else ())
    kept = [(name, request.GET[name]) for name in ("q", "sort") if request.GET.get(name)]
    return render(
        request,
        "hub/browse.html",
        {
            "title": "Tasks" if kind == Kind.TASK else "Browse",
            "filters": filters,
            "facets": [
                {"name": name, "title": title, "options": found[name]}
                for name, title in TITLES.items()
                if not (kind and name == "kind")
            ],
            "clear": f"{request.path}?{urlencode(kept)}" if filters != cleared else "",
            "hidden": kept,
            "page_obj": page,
            "rows": rows(page.object_list, actor),
            "sort": request.GET.get("sort", "updated"),
            "sorts": SORTS.items(),
        },
    )
