"""Liking a repo from its head: a plain form that comes back to where one was, or htmx that swaps the button."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from hub.repos import lifecycle
from merges.pages.shared import actor_of, attempt, likes, repo_or_404


def like(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Mark (`liked=on`) or unmark a repo; twice changes nothing. Whoever is not signed in is asked to, first."""
    repo = repo_or_404(request, owner, name, task=task)
    actor, url = actor_of(request), repo.get_absolute_url()
    if request.method != "POST":
        return redirect(url)
    if not actor.is_known:
        return redirect(f"{reverse('account_login')}?{urlencode({'next': url})}")
    liked = request.POST.get("liked") == "on"
    attempt(request, lambda: lifecycle.set_like(actor=actor, repo=repo, liked=liked))
    here = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(here, allowed_hosts=None):
        here = url
    if not request.headers.get("HX-Request"):
        return redirect(here)
    repo.refresh_from_db(fields=["likes"])
    context = {"repo": repo, "url": url, "may_propose": True, "likes_it": likes(actor, repo), "here": here}
    return render(request, "repos/like.html", context)
