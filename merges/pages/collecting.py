"""Collections: repos that somebody put together, in an order, each with a note."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from hub.accounts.actor import Actor
from hub.collections import keeping
from hub.collections.models import Collection, Item
from hub.repos.models import Repo
from hub.rights import owners_for
from merges.pages.shared import actor_of, attempt, offered, page_of, rows


def index(request: HttpRequest) -> HttpResponse:
    """Every collection one may see; with `?add=owner/name` one's own, to put that repo into; the form for a new one."""
    actor, asked, error = actor_of(request), request.POST, ""
    owners = owners_for(actor)
    added = _repo(actor, request.GET.get("add", ""), request.GET.get("kind", ""))
    if request.method == "POST":
        owner = next((item for item in owners if item.name == asked.get("owner")), actor.account)
        if owner is None:
            return redirect("account_login")
        made, error = attempt(
            request,
            lambda: keeping.create(
                actor=actor, owner=owner, title=asked.get("title", ""), description=asked.get("description", ""),
                private=asked.get("private") == "on",
            ),
        )  # fmt: skip
        if made:
            if added is not None:
                attempt(request, lambda: keeping.add(actor=actor, row=made, repo=added))
            return redirect(_url(made))
    rows = keeping.collections_for(actor)
    if added is not None:
        rows = rows.filter(owner__in=owners)
    page = page_of(request, rows)
    page.object_list = list(page.object_list)
    counts = keeping.counts(actor, page.object_list)
    for item in page.object_list:
        item.url, item.count = _url(item), counts.get(item.pk, 0)
    context = {"page_obj": page, "owners": owners, "asked": asked, "error": error, "added": added,
               "query": request.GET.urlencode()}  # fmt: skip
    return render(request, "hub/collections.html", context, status=422 if error else 200)


def show(request: HttpRequest, owner: str, slug: str) -> HttpResponse:
    """One collection: what is in it; for who keeps it also changing it."""
    actor = actor_of(request)
    found = keeping.find(actor, slug)
    if found is None or found.owner.name.lower() != owner.lower():
        raise Http404("There is no such collection, or you may not see it.")
    if request.method == "POST":
        return _act(request, actor, found)
    items = list(keeping.items_for(actor, found))
    shown = rows((item.repo for item in items), actor)
    lines = [line | {"key": item.key, "note": item.note} for item, line in zip(items, shown, strict=True)]
    context = {"collection": found, "lines": lines, "url": _url(found), "may": keeping.may_change(actor, found),
               "offered": offered(actor)}  # fmt: skip
    return render(request, "hub/collection.html", context)


def _act(request: HttpRequest, actor: Actor, found: Collection) -> HttpResponse:
    asked = request.POST
    action = asked.get("action", "")
    if action == "delete":
        _done, error = attempt(request, lambda: keeping.delete(actor=actor, row=found))
        return redirect(_url(found) if error else "/collections")
    if action == "add":
        repo = _repo(actor, asked.get("repo", "").strip(), asked.get("kind", ""))
        if repo is None:
            messages.error(request, "There is no such repo, or you may not see it.")
        else:
            attempt(request, lambda: keeping.add(actor=actor, row=found, repo=repo, note=asked.get("note", "")))
    elif action == "save":
        fields: dict[str, Any] = {"title": asked.get("title", ""), "description": asked.get("description", ""),
                                  "private": asked.get("private") == "on"}  # fmt: skip
        attempt(request, lambda: keeping.update(actor=actor, row=found, **fields))
    elif (item := _item(actor, found, asked.get("item", ""))) is not None:
        chosen = item
        if action == "note":
            attempt(request, lambda: keeping.change(actor=actor, item=chosen, note=asked.get("note", "")))
        elif action == "remove":
            attempt(request, lambda: keeping.remove(actor=actor, item=chosen))
    return redirect(_url(found))


def _item(actor: Actor, found: Collection, key: str) -> Item | None:
    return keeping.items_for(actor, found).filter(key=key[:24]).first()


def _repo(actor: Actor, name: str, kind: str) -> Repo | None:
    """The repo of a name; of a model and a task of one name the one that is asked for."""
    if name.count("/") != 1 or "\x00" in name:
        return None
    known = Repo.objects.with_id(name).known_to(actor).select_related("owner")
    return (known.tasks() if kind == "task" else known.models()).first() or known.first()


def _url(found: Collection) -> str:
    return f"/collections/{found.slug}"
