"""Systems: the list, one of them, proposing to it, releasing and rolling back."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.repos.models import Commit, Kind, Repo
from hub.rights import owners_for
from merges.methods import METHODS
from merges.models import Release, ReleaseState
from merges.pages import plots
from merges.pages.shared import actor_of, attempt, offered, page_of, repo_or_404, repo_page, signed_in
from merges.systems import releases
from merges.systems.manifest import BadManifest


def system_list(request: HttpRequest) -> HttpResponse:
    """Every System one may see, and the form for a new one."""
    actor, asked, error = actor_of(request), request.POST, ""
    owners = owners_for(actor)
    if request.method == "POST":
        owner = next((item for item in owners if item.name == asked.get("owner")), actor.account)
        if owner is None:
            return redirect("account_login")
        made, error = attempt(
            request,
            lambda: releases.create_system(
                actor=actor, owner=owner, name=asked.get("name", "").strip(), base=asked.get("base", ""),
                description=asked.get("description", ""),
            ),
        )  # fmt: skip
        if made:
            return redirect(made.get_absolute_url())
    rows = Repo.objects.visible_to(actor).filter(kind=Kind.SYSTEM).select_related("owner").order_by("-updated_at")
    page = page_of(request, rows)
    best = {row.system_id: row for row in _newest([repo.pk for repo in page.object_list])}
    lines = [{"repo": repo, "release": best.get(repo.pk)} for repo in page.object_list]
    context = {"page_obj": page, "lines": lines, "owners": owners, "asked": asked, "error": error,
               "bases": listing(actor, Filters(kind=(Kind.BASE,)), "name")[:200]}  # fmt: skip
    return render(request, "judging/systems.html", context, status=422 if error else 200)


def _newest(keys: list[Any]) -> list[Release]:
    rows = Release.objects.filter(system__in=keys, state=ReleaseState.RELEASED)
    return list(rows.order_by("system_id", "-released_at").distinct("system_id"))


def page(request: HttpRequest, repo: Repo) -> HttpResponse:
    """One System: members, the release in use, scores over releases, how to use it."""
    now = releases.current(repo)
    rows = list(repo.releases.select_related("created_by", "rolls_back_to", "job", "generalist__job")[:200])
    try:
        manifest = releases.manifest_at(repo, Commit.objects.filter(repo=repo, sha=repo.head).first()).to_dict()
        error = ""
    except BadManifest as problem:
        manifest, error = (now.manifest if now else {}), str(problem)
    shown = now.manifest if now else manifest
    scores = {one["task"]: one for one in (now.scores.get("tasks", []) if now else [])}
    members = [{**one, "score": scores.get(one["task"]["repo"])} for one in shown.get("members", [])]
    return repo_page(
        request, "judging/system.html", repo, "card", now=now, releases=rows, members=members, manifest=shown,
        error=error, plot=_plot(rows), methods=[METHODS[name] for name in sorted(METHODS)],
        snippets=_snippets(repo, now),
        pending=repo.change_requests.filter(state="open").select_related("author")[:20],
    )  # fmt: skip


def _snippets(repo: Repo, now: Release | None) -> list[dict[str, str]]:
    """Asking it as OpenAI's clients do, and fetching what it pins."""
    url, name = settings.PUBLIC_URL, repo.full_name
    revision = f" --revision v{now.number}" if now else ""
    asked = (
        f'from openai import OpenAI\n\nclient = OpenAI(base_url="{url}/v1", api_key="none")\n'
        f'answer = client.chat.completions.create(\n    model="{name}",\n'
        '    messages=[{"role": "user", "content": "A text to try"}],\n)\nprint(answer.choices[0].message.content)\n'
    )
    fetched = f"HF_ENDPOINT={url} hf download {name} system.json{revision}"
    return [
        *([{"title": "openai", "code": asked, "language": "python"}] if now else []),
        {"title": "hf", "code": fetched, "language": "bash"},
        {"title": "curl", "code": f"curl {url}/api/v1/systems/{name}", "language": "bash"},
    ]


def _plot(rows: list[Release]) -> Any:
    """Scores over releases, the oldest first."""
    scored = [row for row in reversed(rows) if row.score is not None and row.state == ReleaseState.RELEASED]
    dots, beside = [], []
    for number, row in enumerate(scored):
        reach, score = 1.96 * (row.standard_error or 0.0), row.score or 0.0
        dots.append(plots.Dot(number, score, score - reach, score + reach, f"v{row.number}", f"#v{row.number}"))
        merged = row.scores.get("generalist", {})
        if merged.get("score") is not None:
            reach, score = 1.96 * merged["standard_error"], merged["score"]
            beside.append(plots.Dot(number, score, score - reach, score + reach, f"the generalist of v{row.number}",
                                    f"#v{row.number}", "dot-beside"))  # fmt: skip
    names = [f"v{row.number} ({len(row.scores.get('tasks', []))})" for row in scored]
    return plots.series(dots, names, y_label="mean score", x_label="releases", beside=beside)


@signed_in
def propose(request: HttpRequest) -> HttpResponse:
    """Propose an adapter to a System, or the removal of a member."""
    actor, asked, error = actor_of(request), request.POST or request.GET, ""
    if request.method == "POST":
        named = Repo.objects.with_id(asked.get("system", "")).filter(kind=Kind.SYSTEM)
        system = named.visible_to(actor).select_related("owner").first()
        if system is None:
            raise Http404("There is no such System, or you may not see it.")
        adapter, text = asked.get("adapter", "").strip(), asked.get("text", "")
        if "generalist" in asked:
            method = asked["generalist"]
            recipe = {"merge_method": method} if method else None
            work = lambda: releases.propose_generalist(  # noqa: E731
                actor=actor, system=system, recipe=recipe, target=asked.get("target", ""), text=text
            )
        elif asked.get("remove"):
            work = lambda: releases.propose_removal(actor=actor, system=system, adapter=adapter, text=text)  # noqa: E731
        else:
            work = lambda: releases.propose_member(  # noqa: E731
                actor=actor, system=system, adapter=adapter, text=text, task=asked.get("task", "").strip()
            )
        made, error = attempt(request, work)
        if made:
            return redirect(made.get_absolute_url())
    systems = Repo.objects.visible_to(actor).filter(kind=Kind.SYSTEM).select_related("owner").order_by("name")[:200]
    context = {"asked": asked, "systems": systems, "error": error, "offered": offered(actor, Kind.ADAPTER, Kind.TASK)}
    return render(request, "judging/propose.html", context, status=422 if error else 200)


@signed_in
@require_POST
def act(request: HttpRequest, owner: str, name: str, number: int) -> HttpResponse:
    """Roll back to a release, or release what was held."""
    repo, actor = repo_or_404(request, owner, name), actor_of(request)
    release = Release.objects.filter(system=repo, number=number).select_related("system__owner", "job").first()
    if release is None:
        raise Http404("There is no such release.")
    found, reason = release, request.POST.get("reason", "")
    if request.POST.get("action") == "release":
        attempt(request, lambda: releases.release_anyway(actor=actor, release=found, reason=reason))
    else:
        attempt(request, lambda: releases.roll_back(actor=actor, release=found))
    return redirect(repo.get_absolute_url())
