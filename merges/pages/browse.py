"""Home, and lists of repos."""

from __future__ import annotations

from dataclasses import replace

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

DOORS = (
    {"href": "/new", "glyph": "upload", "title": "Publish", "text": "By browser, hf upload or push_to_hub. All go "
     "through one door: the same hashes, checks and history."},
    {"href": "/browse?kind=adapter", "glyph": "binary", "title": "Look inside", "text": "What a file really holds, "
     "read from its bytes, and what changed between two revisions, tensor by tensor."},
    {"href": "/merge", "glyph": "git-merge", "title": "Merge", "text": "Compose the skills of several specialists, on "
     "their effective updates, with the error reported."},
    {"href": "/evaluations", "glyph": "ruler", "title": "Evaluate", "text": "Scores with n, standard error, seed, "
     "device, versions and commit ids: repeatable, or not shown as measured."},
    {"href": "/review", "glyph": "shield-check", "title": "Review", "text": "Maintainers decide from a queue. A "
     "decision is bound to the commit seen; nobody decides their own work."},
)  # fmt: skip
"""What one can do here, as the home page shows it."""


def home(request: HttpRequest) -> HttpResponse:
    """What this hub is, what is new, and what waits."""
    actor = actor_of(request)
    visible = Repo.objects.visible_to(actor).exclude(head="")
    newest = listing(actor, Filters(kind=(Kind.ADAPTER,)))[:6]
    return render(
        request,
        "hub/home.html",
        {
            "counts": [
                ("adapters", visible.filter(kind=Kind.ADAPTER).count(), "/browse?kind=adapter"),
                ("bases", visible.filter(kind=Kind.BASE).count(), "/browse?kind=base"),
                ("tasks", visible.filter(kind=Kind.TASK).count(), "/tasks"),
                ("evaluations", Evaluation.objects.visible_to(actor).exclude(score=None).count(), "/evaluations"),
                ("waiting for review", queue.queue(actor).count(), "/review"),
            ],
            "doors": DOORS,
            "newest": rows(newest),
            "running": Job.objects.visible_to(actor).filter(state__in=(State.QUEUED, State.RUNNING))[:5],
        },
    )


def browse(request: HttpRequest, kind: str = "") -> HttpResponse:
    """Search with facets; the address is the state."""
    actor, filters = actor_of(request), Filters.from_query(request.GET)
    if kind:
        filters = replace(filters, kind=(kind,))
    page = page_of(request, listing(actor, filters, request.GET.get("sort", "updated")))
    found = facets(actor, filters)
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
            "hidden": [(name, request.GET[name]) for name in ("q", "sort") if request.GET.get(name)],
            "page_obj": page,
            "rows": rows(page.object_list),
            "sort": request.GET.get("sort", "updated"),
            "sorts": SORTS.items(),
        },
    )
