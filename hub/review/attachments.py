"""Pictures in comments: sent first, then named in a text, and seen by whoever may read that text.

A picture that no comment names is its sender's alone, and goes after a day.
"""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from hub.accounts.actor import Actor
from hub.repos.models import Repo
from hub.repos.policy import Refused
from hub.review.models import Attachment, Comment
from hub.review.refusals import NotPossible
from hub.rights import Denied
from hub.store.blobs import store_bytes

MOST_BYTES, MOST_A_DAY, MOST_NAMED = 10 * 1024 * 1024, 200, 50
_ADDRESS = re.compile(r"/uploads/([0-9a-f]{32})\.[a-z]{3,4}\b")
_BEGINNINGS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"))


def keep(*, actor: Actor, data: bytes) -> Attachment:
    """Store a picture. Raises Denied, NotPossible (too many in a day), Refused for what is none, StoreError."""
    if not actor.may_write or actor.account is None:
        raise Denied("Only people with a token or session that may write send pictures.")
    suffix = _suffix(data)
    if not suffix or len(data) > MOST_BYTES:
        raise Refused("attachment", "what a comment shows is a PNG, JPEG, GIF or WebP picture of 10 MiB at most.")
    since = timezone.now() - timedelta(days=1)
    if Attachment.objects.filter(account=actor.account, created_at__gt=since).count() >= MOST_A_DAY:
        raise NotPossible(f"That is {MOST_A_DAY} pictures in a day; send more tomorrow.")
    blob = store_bytes(data)
    return Attachment.objects.create(key=uuid.uuid4().hex, account=actor.account, blob=blob, suffix=suffix)


def settle(comment: Comment) -> None:
    """Remember which pictures a comment shows; call it whenever its text changes. Its author must see them already."""
    keys = [] if comment.hidden or comment.author is None else _ADDRESS.findall(comment.text)[:MOST_NAMED]
    if keys or comment.edited_at or comment.hidden:
        seen = Attachment.objects.filter(_sent_by_or_read_by(Actor(account=comment.author)), key__in=keys)
        comment.attachments.set(seen.distinct())


def visible_to(actor: Actor) -> QuerySet[Attachment]:
    """Those the actor sent, and those in comments they may read."""
    return Attachment.objects.filter(_sent_by_or_read_by(actor)).select_related("blob").distinct()


def forget() -> int:
    """Remove pictures of more than a day ago that no comment shows; their bytes go when nothing else refers to them."""
    before = timezone.now() - timedelta(days=1)
    return Attachment.objects.filter(comments=None, created_at__lt=before).delete()[0]


def _sent_by_or_read_by(actor: Actor) -> Q:
    read = Q(comments__change_request__repo__in=Repo.objects.visible_to(actor))
    return read | Q(account=actor.account) if actor.account is not None else read


def _suffix(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for beginning, suffix in _BEGINNINGS if data.startswith(beginning)), "")
