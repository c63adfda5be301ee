"""Settings, Webhooks: which addresses are told of what, whether they took it, and switching them on and off."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render

from hub.accounts.actor import Actor
from hub.webhooks import delivering, keeping
from hub.webhooks.models import Webhook
from merges.pages.shared import actor_of, attempt, signed_in


@signed_in
def webhooks(request: HttpRequest) -> HttpResponse:
    """One's own webhooks with their last deliveries, and making one."""
    actor, asked = actor_of(request), request.POST
    error = ""
    if request.method == "POST" and asked.get("webhook"):
        _act(request, _mine(request, asked["webhook"]))
        return redirect(request.path)
    if request.method == "POST":
        made, error = attempt(request, lambda: keeping.create(actor=actor, **_fields(asked)))
        if made:
            return redirect(request.path)
    rows = keeping.webhooks_of(actor)
    recent = delivering.recent(rows)
    lines = [{"row": row, "words": keeping.words_of(row), "deliveries": recent[row.key]} for row in rows]
    context = {"lines": lines, "asked": asked, "error": error, "most": keeping.MOST_WEBHOOKS}
    return render(request, "people/webhooks.html", context, status=422 if error else 200)


def _mine(request: HttpRequest, key: str) -> Webhook:
    found = next((row for row in keeping.webhooks_of(actor_of(request)) if row.key == key), None)
    if found is None:
        raise Http404("You have no such webhook.")
    return found


def _act(request: HttpRequest, row: Webhook) -> None:
    """Change, test, switch or delete one webhook; what is wrong becomes a message."""
    actor, asked = actor_of(request), request.POST
    action = asked.get("action")
    if action == "test":
        job, _error = attempt(request, lambda: delivering.send_test(actor=actor, row=row))
        if job:
            messages.success(request, "A test is on its way; reload to see what the address answered.")
    elif action in ("on", "off"):
        attempt(request, lambda: keeping.update(actor=actor, row=row, disabled=action == "off"))
    elif action == "delete":
        attempt(request, lambda: keeping.delete(actor=actor, row=row))
    elif action == "save":
        attempt(request, lambda: _save(actor, row, asked))


def _save(actor: Actor, row: Webhook, asked: QueryDict) -> None:
    fields = _fields(asked)
    if not fields["secret"] and not asked.get("forget"):
        del fields["secret"]  # the page never shows it, so an empty field keeps it
    keeping.update(actor=actor, row=row, **fields)


def _fields(asked: QueryDict) -> dict[str, Any]:
    return {
        "url": asked.get("url", "").strip(),
        "watched": keeping.watched_from(asked.get("watched", "")),
        "domains": asked.getlist("domains"),
        "secret": asked.get("secret", ""),
    }
