"""Mending what was said: only its author edits a comment; those who steer the change request may hide it."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.review.change_requests import NotPossible
from hub.review.models import Comment
from hub.rights import Denied, Verb


def edit(*, actor: Actor, comment: Comment, text: str) -> Comment:
    """Say it in other words. Raises Denied, NotPossible if there is nothing in it or it is hidden."""
    rights.require(actor, Verb.PROPOSE, comment.change_request.repo)
    if actor.account is None or comment.author_id != actor.account.pk:
        raise Denied("Only who wrote a comment may edit it.")
    if comment.hidden or not text.strip():
        raise NotPossible("A hidden comment stays hidden." if comment.hidden else "A comment needs some text.")
    with transaction.atomic():
        comment.text, comment.edited_at = text[:20_000], timezone.now()
        comment.save(update_fields=["text", "edited_at"])
        record(actor.account, "edit_comment", repo=comment.change_request.repo, comment=comment.pk)
    return comment


def hide(*, actor: Actor, comment: Comment) -> Comment:
    """Take a comment out of sight, for good. Raises Denied."""
    own = actor.account is not None and comment.author_id == actor.account.pk
    writes = rights.can(actor, Verb.WRITE, comment.change_request.repo)
    reviews = rights.can(actor, Verb.REVIEW, comment.change_request.repo)
    if not actor.may_write or not (own or writes or reviews):
        raise Denied("Only who wrote a comment, the repo's writers and maintainers may hide it.")
    with transaction.atomic():
        comment.hidden = True
        comment.save(update_fields=["hidden"])
        record(actor.account, "hide_comment", repo=comment.change_request.repo, comment=comment.pk)
    return comment
