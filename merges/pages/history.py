"""A repo's commits: the list, and what one of them changed."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from hub.repos import trees
from hub.repos.models import Commit, Repo
from hub.review.models import Check, Verdict
from merges.pages import diff_view
from merges.pages.acting import folded
from merges.pages.diff_view import Ends
from merges.pages.refs import revisions
from merges.pages.shared import actor_of, commit_or_404, page_of, repo_or_404, repo_page

MAX_LISTED = 1000
WORST_FIRST: list[str] = [Verdict.FAIL, Verdict.WARN, Verdict.PASS]


def commits(request: HttpRequest, owner: str, name: str, revision: str = "main", task: bool = False) -> HttpResponse:
    """History, newest first."""
    repo = repo_or_404(request, owner, name, task=task)
    head = commit_or_404(repo, revision)
    page = page_of(request, trees.log(repo, head, limit=MAX_LISTED))
    url, offered = repo.get_absolute_url(), revisions(repo, revision, head, "commits")
    verdicts = _verdicts(repo, [item.sha for item in page.object_list])
    rows = [
        {"sha": item.sha, "title": item.title, "url": f"{url}/commit/{item.sha}",
         "author": item.author.name if item.author else "", "author_url": f"/{item.author}" if item.author else "",
         "files_url": f"{url}/tree/{item.sha}", "at": item.created_at, "refs": offered["tags_at"].get(item.sha),
         "verdict": verdicts.get(item.sha)}
        for item in page.object_list
    ]  # fmt: skip
    return repo_page(
        request, "repos/commits.html", repo, "commits", rows=rows, page_obj=page, revision=revision, revisions=offered
    )


def _verdicts(repo: Repo, shas: list[str]) -> dict[str, str]:
    """What the checks of each commit come to: the worst of their verdicts."""
    found: dict[str, str] = {}
    for sha, verdict in Check.objects.filter(repo=repo, sha__in=shas).values_list("sha", "verdict"):
        found[sha] = min(verdict, found.get(sha, verdict), key=WORST_FIRST.index)
    return found


def commit(request: HttpRequest, owner: str, name: str, revision: str, task: bool = False) -> HttpResponse:
    """One commit: who made it when and why, what speaks for and against it, what it changed of its first parent."""
    repo = repo_or_404(request, owner, name, task=task)
    shown = commit_or_404(repo, revision)
    parents = _parents(repo, shown)
    if parents:
        address = f"{repo.get_absolute_url()}/commit/{shown.sha}"
        changes = diff_view.context(request, actor_of(request), Ends(repo, parents[0], repo, shown, address))
    else:
        changes = diff_view.beginning(repo, shown)
    return repo_page(
        request, "repos/commit.html", repo, "commits", commit=shown, parents=parents,
        tags=revisions(repo, shown.sha, shown, "commit")["tags_at"].get(shown.sha, []),
        **folded(Check.objects.filter(repo=repo, sha=shown.sha)), **changes,
    )  # fmt: skip


def _parents(repo: Repo, commit: Commit) -> list[Commit]:
    """A commit's parents in their order."""
    found = {parent.sha: parent for parent in Commit.objects.filter(repo=repo, sha__in=commit.parents)}
    return [found[sha] for sha in commit.parents if sha in found]
