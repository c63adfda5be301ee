"""From an event to the deliveries it causes, in the transaction of the write itself."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from hub.accounts.actor import actor_for
from hub.activity.models import Event
from hub.jobs import queue
from hub.jobs.models import Job, State
from hub.repos.models import Kind, Repo
from hub.webhooks.models import Webhook

KIND = "webhooks.deliver"
MOST_WAITING = 200
"""Deliveries of one person that may wait; what comes on top is dropped."""

KINDS: dict[str, tuple[str, str]] = {
    "commit": ("update", "repo.content"), "push": ("update", "repo.content"), "create_ref": ("update", "repo.content"),
    "delete_ref": ("update", "repo.content"), "create_repo": ("create", "repo"), "move_repo": ("move", "repo"),
    "set_private": ("update", "repo.config"), "set_public": ("update", "repo.config"),
    "describe": ("update", "repo.config"), "yank": ("update", "repo.config"), "restore": ("update", "repo.config"),
    "open_change_request": ("create", "discussion"), "comment": ("create", "discussion.comment"),
    "edit_comment": ("update", "discussion.comment"), "hide_comment": ("update", "discussion.comment"),
    "rename_change_request": ("update", "discussion"), "merge_change_request": ("update", "discussion"),
    "update_change_request": ("update", "discussion"), "draft_change_request": ("update", "discussion"),
    "closed_change_request": ("update", "discussion"),
}  # fmt: skip
"""Verb of an event → (action, scope), as the ecosystem's receivers know them."""


def on_event(event: Event) -> None:
    """Queue a delivery for every webhook that watches this and whose owner may know of it."""
    if event.repo is None or event.verb not in KINDS:
        return
    repo, (action, scope) = event.repo, KINDS[event.verb]
    owner, kind = repo.owner, "dataset" if repo.is_task else "model"
    watched = [f"{'org' if owner.is_organisation else 'user'}:{owner.name}".lower(), f"{kind}:{repo.full_name}".lower()]
    domain = scope.partition(".")[0]
    rows = Webhook.objects.filter(watched__overlap=watched, domains__contains=[domain], disabled=False)
    for webhook in rows.select_related("owner"):
        readable = Repo.objects.visible_to(actor_for(webhook.owner)).filter(pk=repo.pk)  # as it stands in the database
        if readable.exists() and has_room(webhook):
            deliver(webhook, repo, action, scope, event.data, event.verb)


def deliver(webhook: Webhook, repo: Repo, action: str, scope: str, data: dict[str, Any], what: str) -> Job:
    """Queue one delivery."""
    return queue.enqueue(
        KIND,
        title=f"Tell {webhook.url[:120]} of {what}",
        arguments={"webhook": webhook.key, "action": action, "scope": scope, "repo": str(repo.pk), "data": data},
        owner=webhook.owner,
    )


def newest_watched(webhook: Webhook) -> Repo | None:
    """The repo a webhook watches that changed last, of those its owner may read."""
    watched = Q()
    for item in webhook.watched:
        kind, _colon, name = item.partition(":")
        owner, _slash, rest = name.partition("/")
        where = Q(owner__name__iexact=owner)
        if rest:
            where &= Q(name__iexact=rest) & (Q(kind=Kind.TASK) if kind == "dataset" else ~Q(kind=Kind.TASK))
        watched |= where
    rows = Repo.objects.visible_to(actor_for(webhook.owner)).filter(watched).exclude(head="")
    return rows.select_related("owner").order_by("-updated_at").first()


def has_room(webhook: Webhook) -> bool:
    """May one more delivery wait for this person's webhooks?"""
    waiting = Job.objects.filter(kind=KIND, owner=webhook.owner, state__in=(State.QUEUED, State.RUNNING))
    return waiting.count() < MOST_WAITING


def repo_of(arguments: dict[str, Any]) -> Repo | None:
    """The repo a delivery is about, if it still exists."""
    return Repo.objects.select_related("owner").filter(pk=arguments["repo"]).first()
