"""Near adapters and tasks of one repo, with the evidence beside each."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from adapters.models import Embedding
from adapters.search.filters import Filters
from adapters.search.relatives import LISTS, relatives
from hub.repos.models import Kind
from merges.pages.shared import actor_of, repo_or_404, repo_page


def page(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Similar texts, similar question, similar behaviour, near-copies; filtered by kind, base or licence."""
    repo = repo_or_404(request, owner, name, task=task)
    if repo.kind == Kind.BASE:
        raise Http404("A base has no relatives; its adapters have.")
    actor, filters = actor_of(request), Filters.from_query(request.GET)
    if request.headers.get("HX-Request"):
        kinds = [kind for kind in LISTS if kind.name in ("texts", "question")]
        brief = [{"kind": kind, "near": relatives(actor, repo, kind.name, most=4)} for kind in kinds]
        return render(
            request, "repos/relatives_panel.html", {"lists": brief, "url": repo.get_absolute_url(), "repo": repo}
        )
    placed = list(
        Embedding.objects.visible_to(actor)
        .filter(repo=repo)
        .select_related("source__owner", "job")
        .defer("rows", "vector")
    )
    known = {row.method for row in placed}
    lists = [
        {"kind": kind, "placed": kind.method in known, "near": relatives(actor, repo, kind.name, filters)}
        for kind in LISTS
        if not (repo.is_task and kind.method == "tuned")
    ]
    check = repo.checks.filter(sha=repo.head, name="placed").first()
    return repo_page(
        request, "repos/relatives.html", repo, "relatives", lists=lists, placed=placed, filters=filters, check=check,
        narrowed=bool(filters.conditions()),
    )  # fmt: skip
