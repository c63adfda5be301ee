"""Inside a repo: its tensors with who changed them last, the history of one, and the repo's lineage."""

from __future__ import annotations

from math import log10
from typing import Any

from django.http import HttpRequest, HttpResponse

from adapters.catalog import lineage as lineages
from adapters.catalog import tensors as tensors_of
from adapters.catalog.updating import made_by
from hub.numerals import whole
from merges.pages import diff_drawings
from merges.pages.lineage_drawing import draw
from merges.pages.shared import actor_of, commit_or_404, page_of, repo_or_404, repo_page

PAGE = 100


def lineage(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """The graph both ways, `?steps=` away (2 unless told)."""
    repo = repo_or_404(request, owner, name, task=task)
    if not repo.head:
        return repo_page(request, "repos/empty.html", repo, "card")
    commit = commit_or_404(repo, request.GET.get("revision"))
    asked = whole(request.GET.get("steps"), 99)
    steps = 2 if asked is None else asked
    graph = lineages.graph(actor_of(request), repo, commit.sha, steps)
    here = next(iter(graph.nodes))
    return repo_page(
        request, "work/lineage.html", repo, "card", commit=commit, drawing=draw(graph, here), steps=steps,
        alone=len(graph.nodes) == 1, most=lineages.MOST_STEPS,
    )  # fmt: skip


def tensors(request: HttpRequest, owner: str, name: str, revision: str, task: bool = False) -> HttpResponse:
    """All tensors of a revision; `?tensor=` shows one with its history and where else it is."""
    repo = repo_or_404(request, owner, name, task=task)
    commit = commit_or_404(repo, revision)
    held = tensors_of.held_at(repo, commit)
    blamed = tensors_of.blame(repo, commit)
    words = request.GET.get("find", "").lower().split()
    found = [item for item in held if all(word in item.name.lower() for word in words)]
    page = page_of(request, found, PAGE)
    rows = [{"held": item, "tensor": item.tensor, "commit": blamed.get(item.name)} for item in page.object_list]
    wanted = request.GET.get("tensor")
    chosen = next((item for item in held if item.name == wanted), None)
    return repo_page(
        request, "work/tensors_page.html", repo, "files", commit=commit, revision=revision, rows=rows, page_obj=page,
        update=made_by(repo, commit), total=len(held), values=sum(_count(item.tensor.shape) for item in held),
        detail=_detail(request, repo, commit, chosen) if chosen else None,
    )  # fmt: skip


def _count(shape: list[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _detail(request: HttpRequest, repo: Any, commit: Any, chosen: Any) -> dict[str, Any]:
    steps = tensors_of.history(repo, commit, chosen.name)
    changes = [step.numbers.get("relative_norm") or 0.0 for step in steps if step.numbers]
    most = max(changes, default=0.0)
    return {
        "held": chosen,
        "tensor": chosen.tensor,
        "histogram": diff_drawings.histogram([], chosen.tensor.histogram),
        "steps": [
            {"step": step, "change": (step.numbers or {}).get("relative_norm"), "made": not step.old,
             "gone": not step.new, "share": _log_share((step.numbers or {}).get("relative_norm"), most)}
            for step in steps
        ],
        "twins": tensors_of.twins(actor_of(request), repo, chosen.tensor_id),
    }  # fmt: skip


def _log_share(value: float | None, most: float) -> float:
    """How long a bar is: the largest change fills it, each power of ten less takes a quarter off."""
    if not value or not most:
        return 0.0
    return max(0.03, 1 + log10(value / most) / 4)
