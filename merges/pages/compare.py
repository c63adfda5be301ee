"""What changed between two revisions, of one repo or of two."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from adapters.catalog import comparing
from adapters.catalog.naming import NotFound, revision_named
from hub.repos.models import Commit, Kind, Repo
from hub.repos.trees import RevisionNotFound
from merges.pages import diff_view
from merges.pages.diff_view import Ends
from merges.pages.shared import actor_of, commit_or_404, offered, repo_or_404, repo_page, signed_in


def choose(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """The form: two revisions of this repo, or one of it and one of another."""
    repo = repo_or_404(request, owner, name, task=task)
    left, right, other = (request.GET.get(part, "").strip() for part in ("left", "right", "other"))
    if other:
        mine = f"{'tasks/' if repo.is_task else ''}{repo.full_name}"
        return redirect(f"/compare?left={other}&right={mine}{f'@{right}' if right else ''}")
    if left and right:
        return redirect(f"{repo.get_absolute_url()}/compare/{left}..{right}")
    history = repo.commits.order_by("-created_at")[:50]
    kinds = [repo.kind] if repo.is_task else [Kind.ADAPTER, Kind.BASE]
    return repo_page(
        request, "work/compare_choose.html", repo, "commits", history=history, base=repo.facts.get("base"),
        offered=offered(actor_of(request), *kinds),
    )  # fmt: skip


def compare(request: HttpRequest, owner: str, name: str, revisions: str, task: bool = False) -> HttpResponse:
    """Two revisions of one repo: files and texts at once, tensors when their job has ended."""
    repo = repo_or_404(request, owner, name, task=task)
    before, dots, after = revisions.partition("..")
    if not dots:
        raise Http404("Name two revisions as before..after.")
    left, right = commit_or_404(repo, before), commit_or_404(repo, after.lstrip("."))
    ends = Ends(repo, left, repo, right, f"{repo.get_absolute_url()}/compare/{revisions}")
    return _show(request, ends)


def across(request: HttpRequest) -> HttpResponse:
    """Two revisions of any two repos: `?left=owner/name@revision&right=owner/name@revision`."""
    texts = [request.GET.get(side, "").strip() for side in ("left", "right")]
    if not all(texts):
        known = offered(actor_of(request), Kind.ADAPTER, Kind.BASE)
        return render(request, "work/compare_across.html", {"left": texts[0], "right": texts[1], "offered": known})
    (left_repo, left), (right_repo, right) = _named(request, texts)
    address = f"/compare?left={texts[0]}&right={texts[1]}"
    return _show(request, Ends(left_repo, left, right_repo, right, address))


@signed_in
@require_POST
def again(request: HttpRequest) -> HttpResponse:
    """Compare once more what failed or was cancelled."""
    texts = [request.POST.get(side, "") for side in ("left", "right")]
    (left_repo, left), (right_repo, right) = _named(request, texts)
    actor = actor_of(request)
    for pair in comparing.pairs(actor, left_repo, left, right_repo, right):
        if comparing.compared(actor, pair, ask=False).comparison is None:
            comparing.again(actor, pair)
    return redirect(diff_view.address_of(left_repo, left, right_repo, right))


def _named(request: HttpRequest, texts: list[str]) -> list[tuple[Repo, Commit]]:
    try:
        return [revision_named(actor_of(request), text) for text in texts]
    except (NotFound, RevisionNotFound) as error:
        raise Http404(str(error)) from error


def _show(request: HttpRequest, ends: Ends) -> HttpResponse:
    found: dict[str, Any] = diff_view.context(request, actor_of(request), ends)
    found["lasting"] = diff_view.address_of(ends.left_repo, ends.left, ends.right_repo, ends.right)
    found["turned"] = diff_view.address_of(ends.right_repo, ends.right, ends.left_repo, ends.left)
    if ends.one_repo:
        return repo_page(request, "work/compare.html", ends.right_repo, "commits", **found)
    return render(request, "work/compare_across.html", found)
