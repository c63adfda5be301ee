"""What a person should know, how they want to be told, and Atom feeds of what is public."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.feedgenerator import Atom1Feed

from hub.accounts.actor import NOBODY
from hub.activity import notices
from hub.activity.models import Event, NoticeKind
from hub.numerals import whole
from hub.repos.models import Repo
from merges.pages.shared import actor_of, page_of, repo_or_404, signed_in

FEED = 50
SENTENCES = {
    "commit": "committed to", "open_change_request": "proposed a change to", "comment": "commented on",
    "merge_change_request": "merged a change into", "create_repo": "made", "evaluated": "judged", "yank": "yanked",
    "restore": "restored", "quarantine": "quarantined", "release": "released",
}  # fmt: skip


@signed_in
def page(request: HttpRequest) -> HttpResponse:
    """Notices, the newest first; marking them as read."""
    actor = actor_of(request)
    if request.method == "POST":
        keys = [key for key in map(whole, request.POST.getlist("notice")) if key is not None]
        notices.mark_read(actor, keys or None)
        return redirect(request.path)
    rows = notices.notices_of(actor)
    kind = request.GET.get("kind", "")
    if kind in NoticeKind.values:
        rows = rows.filter(kind=kind)
    if request.GET.get("unread"):
        rows = rows.filter(read_at=None)
    context = {"page_obj": page_of(request, rows), "kinds": NoticeKind.choices, "query": request.GET}
    return render(request, "judging/notices.html", context)


@signed_in
def choices(request: HttpRequest) -> HttpResponse:
    """For each kind: in the site, by mail, both or neither."""
    account = actor_of(request).account
    assert account is not None
    if request.method == "POST":
        for kind in NoticeKind.values:
            in_site, by_mail = (request.POST.get(f"{kind}-{how}") == "on" for how in ("site", "mail"))
            notices.choose(account, kind, in_site=in_site, by_mail=by_mail)
        messages.success(request, "Saved.")
        return redirect(request.path)
    return render(request, "judging/notice_choices.html", {"choices": notices.choices_of(account)})


def unsubscribe(request: HttpRequest, text: str) -> HttpResponse:
    """No more mail of one kind, by the address at the end of a mail; asks before it does."""
    found = notices.read_unsubscribe(text)
    if found is None:
        raise Http404("This address was not made here, or it was cut short.")
    account, kind = found
    if request.method == "POST":
        known = next(row for row in notices.choices_of(account) if row.kind == kind)
        notices.choose(account, kind, in_site=known.in_site, by_mail=False)
    label = NoticeKind(kind).label
    return render(request, "judging/unsubscribe.html", {"label": label, "done": request.method == "POST"})


def new_feed(request: HttpRequest) -> HttpResponse:
    """New public repos."""
    rows = Repo.objects.visible_to(NOBODY).filter(standing="good").exclude(head="").select_related("owner")
    feed = _feed(request, f"New on {settings.SITE_NAME}", "/browse")
    for repo in rows.order_by("-created_at")[:FEED]:
        _add(feed, f"{repo.full_name} ({repo.kind})", repo.get_absolute_url(), repo.description, repo.created_at,
             repo.owner.name)  # fmt: skip
    return _answer(feed)


def activity_feed(request: HttpRequest) -> HttpResponse:
    """What happened to public repos."""
    return _events(request, f"Activity on {settings.SITE_NAME}", "/", Event.objects.all())


def repo_feed(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """What happened to one repo; a private one's feed is its readers' alone."""
    repo = repo_or_404(request, owner, name, task=task)
    response = _events(request, repo.full_name, repo.get_absolute_url(), Event.objects.filter(repo=repo), own=repo)
    if repo.private:
        response["Cache-Control"] = "private, no-store"
    return response


def _events(request: HttpRequest, title: str, url: str, rows: QuerySet[Event], own: Repo | None = None) -> HttpResponse:
    feed = _feed(request, title, url)
    readable = Repo.objects.visible_to(NOBODY)
    rows = rows.filter(verb__in=SENTENCES) if own else rows.filter(verb__in=SENTENCES, repo__in=readable)
    for event in rows.select_related("actor", "repo__owner").order_by("-at")[:FEED]:
        if event.repo is None:
            continue
        who = event.actor.name if event.actor else "Somebody"
        link = event.repo.get_absolute_url()
        if event.data.get("number"):
            link += f"/discussions/{event.data['number']}"
        _add(feed, f"{who} {SENTENCES[event.verb]} {event.repo.full_name}", link, str(event.data.get("title", "")),
             event.at, who, key=f"event-{event.pk}")  # fmt: skip
    return _answer(feed)


def _feed(request: HttpRequest, title: str, url: str) -> Atom1Feed:
    return Atom1Feed(title, f"{settings.PUBLIC_URL}{url}", "", feed_url=f"{settings.PUBLIC_URL}{request.path}")


def _add(feed: Atom1Feed, title: str, url: str, text: str, at: Any, author: str, key: str = "") -> None:
    link = f"{settings.PUBLIC_URL}{url}"
    feed.add_item(title, link, text, author_name=author, pubdate=at, updateddate=at, unique_id=f"{link}#{key}")


def _answer(feed: Atom1Feed) -> HttpResponse:
    return HttpResponse(feed.writeString("utf-8"), content_type="application/atom+xml; charset=utf-8")
