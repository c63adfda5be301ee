"""What changed between two revisions."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from adapters.catalog.comparing import compare_files, tensor_changes
from adapters.models import Comparison
from hub.repos.models import Repo
from merges.pages.shared import actor_of, commit_or_404, repo_or_404, repo_page


def choose(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """The form: two revisions of this repo."""
    repo = repo_or_404(request, owner, name, task=task)
    left, right = request.GET.get("left", ""), request.GET.get("right", "")
    if left and right:
        return redirect(f"{repo.get_absolute_url()}/compare/{left}..{right}")
    history = repo.commits.order_by("-created_at")[:50]
    return repo_page(request, "work/compare_choose.html", repo, "commits", history=history)


def compare(request: HttpRequest, owner: str, name: str, revisions: str, task: bool = False) -> HttpResponse:
    """Files and texts at once; tensors when their job has ended (the page asks again until then)."""
    repo = repo_or_404(request, owner, name, task=task)
    before, dots, after = revisions.partition("..")
    if not dots:
        raise Http404("Name two revisions as before..after.")
    left, right = commit_or_404(repo, before), commit_or_404(repo, after)
    files = compare_files(repo, left, repo, right)
    weights, waiting = tensor_rows(request, files, repo)
    return repo_page(
        request, "work/compare.html", repo, "commits",
        left=left, right=right, files=files, weights=weights, waiting=waiting,
        changed=[change for change in files if change.status != "unchanged"],
        unchanged=sum(change.status == "unchanged" for change in files),
    )  # fmt: skip


def _changed_first(comparison: Comparison | None) -> list[dict[str, Any]]:
    """The rows of a comparison, unchanged tensors last."""
    return sorted(comparison.changes, key=lambda row: row["status"] == "unchanged") if comparison else []


def tensor_rows(request: HttpRequest, files: Any, repo: Repo) -> tuple[list[dict[str, Any]], bool]:
    """Comparisons of changed weights files, and whether one is still being made."""
    found: list[dict[str, Any]] = [
        {"path": change.path, "comparison": comparison, "job": job, "changes": _changed_first(comparison)}
        for change, comparison, job in tensor_changes(files, actor_of(request), repo)
    ]
    return found, any(item["job"] is not None and not item["job"].has_ended for item in found)
