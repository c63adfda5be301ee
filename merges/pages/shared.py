"""What every page needs: the repo of an address, errors as messages, rows for lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.pages.errors import describe
from hub.pages.middleware import RepoGated, RepoMoved
from hub.repos import lifecycle, trees
from hub.repos.models import Commit, Kind, Like, Repo, RepoQuerySet
from hub.review.models import ChangeRequest
from hub.rights import Denied, Verb, can
from merges.evaluation.metrics import title
from merges.models import Evaluation, Origin

OFFERED = 200
View = Callable[..., HttpResponse]


def actor_of(request: HttpRequest) -> Actor:
    """Who is asking."""
    actor: Actor = request.actor  # type: ignore[attr-defined]
    return actor


def repo_or_404(request: HttpRequest, owner: str, name: str, *, task: bool = False) -> Repo:
    """The repo at an address, if this person may read it; else it is absent."""
    repos = Repo.objects.with_id(f"{owner}/{name}")
    repos = repos.tasks() if task else repos.models()
    repo = repos.visible_to(actor_of(request)).select_related("owner").first()
    if repo is None:
        moved = lifecycle.moved_to(actor_of(request), f"{owner}/{name}", task=task)
        if moved:
            raise RepoMoved(f"{owner}/{name}", moved.full_name)
        known = Repo.objects.with_id(f"{owner}/{name}").known_to(actor_of(request)).select_related("owner")
        gated = (known.tasks() if task else known.models()).first()
        if gated:
            raise RepoGated(f"{gated.get_absolute_url()}/access")
        raise Http404("There is no such repo, or you may not see it.")
    return repo


def owner_among(owners: Iterable[Account], name: str) -> Account:
    """The owner of a name among those that a form offers. Raises Denied."""
    found = next((account for account in owners if account.name == name), None)
    if found is None:
        raise Denied(f"You may not create repos for {name[:96]}.")
    return found


def commit_or_404(repo: Repo, revision: str | None) -> Commit:
    """The commit a revision names, or 404."""
    try:
        return trees.resolve_commit(repo, revision)
    except trees.RevisionNotFound as error:
        raise Http404(str(error)) from error


def signed_in(view: View) -> View:
    """For pages that only people who signed in have."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not actor_of(request).is_known:
            return redirect(f"{reverse('account_login')}?{urlencode({'next': request.get_full_path()})}")
        return view(request, *args, **kwargs)

    return wrapped


def attempt(request: HttpRequest, work: Callable[[], Any], *, announced: bool = True) -> tuple[Any, str]:
    """Do a room's work; (result, "") or (None, the sentence why not). Unforeseen errors pass.

    Pages that show the sentence beside its field do not have it `announced` at their head as well.
    """
    try:
        return work(), ""
    except Exception as error:
        known = describe(error)
        if known is None:
            raise
        if announced:
            messages.error(request, known[2])
        return None, known[2]


def page_of(request: HttpRequest, rows: Any, size: int = 30) -> Page[Any]:
    """One page of a queryset, by `?page=`."""
    return Paginator(rows, size).get_page(request.GET.get("page"))


def offered(actor: Actor, *kinds: str) -> RepoQuerySet:
    """The newest repos of these kinds, for fields that suggest while one types."""
    return listing(actor, Filters(kind=kinds))[:OFFERED]


def row(repo: Repo) -> dict[str, Any]:
    """A repo as lists show it."""
    facts = repo.facts
    return {
        "kind": repo.kind,
        "owner": repo.owner.name,
        "name": repo.name,
        "url": repo.get_absolute_url(),
        "private": repo.private,
        "gated": repo.gated,
        "summary": repo.summary,
        "base": facts.get("base"),
        "method": facts.get("method"),
        "rank": facts.get("rank"),
        "parameters": facts.get("trained_parameters") or facts.get("base_parameters"),
        "labels": len(facts.get("labels") or []) if repo.is_task else 0,
        "rows": sum(count or 0 for count in (facts.get("rows") or {}).values()),
        "task": _trained_on(repo),
        "licence": repo.card.get("license"),
        "downloads": repo.downloads,
        "likes": repo.likes,
        "updated_at": repo.updated_at,
    }


def _trained_on(repo: Repo) -> str:
    """The task an adapter's card names first."""
    named = repo.card.get("task") or repo.card.get("datasets")
    first = named[0] if isinstance(named, list) and named else named
    return first if repo.kind == Kind.ADAPTER and isinstance(first, str) else ""


def rows(repos: Iterable[Repo], actor: Actor) -> list[dict[str, Any]]:
    """`row` of each, adapters with the score that the hub measured of their head, tasks with the best one on theirs."""
    found = list(repos)
    scored = _scores([repo for repo in found if repo.kind == Kind.ADAPTER], actor)
    scored |= _best([repo for repo in found if repo.is_task], actor)
    return [row(repo) | scored.get(repo.pk, {}) for repo in found]


def _best(tasks: list[Repo], actor: Actor) -> dict[Any, dict[str, Any]]:
    """The best score on each task that one may see."""
    seen = Evaluation.objects.visible_to(actor).filter(
        task__in=tasks, task_sha=F("task__head"), origin=Origin.VERIFIED, score__isnull=False
    )
    boards = {repo.pk: f"/leaderboards/{repo.full_name}" for repo in tasks}
    best = seen.order_by("task_id", "-score").distinct("task_id").values_list("task_id", "score", "metric")
    return {
        key: {"score": score, "metric": f"best {title(metric).lower()}", "score_url": boards[key]}
        for key, score, metric in best
    }


def _scores(adapters: list[Repo], actor: Actor) -> dict[Any, dict[str, Any]]:
    """The newest score on the task an adapter names, else on any task."""
    seen = Evaluation.objects.visible_to(actor).filter(
        subject__in=adapters, subject_sha=F("subject__head"), origin=Origin.VERIFIED, score__isnull=False
    )
    named = {repo.pk: _trained_on(repo).lower() for repo in adapters}
    found: dict[Any, dict[str, Any]] = {}
    for one in seen.select_related("task__owner").order_by("-created_at"):
        is_named = one.task.full_name.lower() == named[one.subject_id]
        if one.subject_id not in found or (is_named and not found[one.subject_id]["is_named"]):
            told = {"score": one.score, "metric": title(one.metric).lower(), "score_url": f"/evaluations/{one.pk}"}
            found[one.subject_id] = told | {"task": one.task.full_name, "is_named": is_named}
    return found


def likes(actor: Actor, repo: Repo) -> bool:
    """Did this person mark the repo?"""
    return actor.account is not None and Like.objects.filter(repo=repo, account=actor.account).exists()


def repo_page(request: HttpRequest, template: str, repo: Repo, tab: str, **context: Any) -> HttpResponse:
    """Render a page of a repo with its head and tabs."""
    actor = actor_of(request)
    return render(
        request,
        template,
        {
            "repo": repo,
            "url": repo.get_absolute_url(),
            "tab": tab,
            "may_write": can(actor, Verb.WRITE, repo),
            "may_admin": can(actor, Verb.ADMIN, repo),
            "may_propose": can(actor, Verb.PROPOSE, repo),
            "likes_it": likes(actor, repo),
            "open_requests": repo.change_requests.filter(state__in=("open", "draft")).count(),
            **context,
        },
    )


def request_or_404(repo: Repo, number: int) -> ChangeRequest:
    """The change request of an address."""
    row = repo.change_requests.select_related("author", "repo__owner").filter(number=number).first()
    if row is None:
        raise Http404("There is no such change request.")
    return row
