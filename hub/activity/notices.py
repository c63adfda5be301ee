"""Telling people: one notice for each person and thing, by their own choice for each kind, in the site and by mail."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from hub.accounts.actor import Actor, actor_for
from hub.accounts.models import Account
from hub.activity.models import Notice, NoticeChoice, NoticeKind
from hub.repos.models import Repo

log = logging.getLogger(__name__)

SALT = "hub.activity.unsubscribe"


def tell(
    people: Iterable[Account], kind: str, text: str, url: str, *, actor: Account | None = None, repo: Repo | None = None
) -> list[Notice]:
    """Give each of these people a notice, in the caller's transaction; not to who did it, nor to who chose otherwise.

    Mail goes out by `send_mail` (beat), so no request waits for a mail server.
    """
    chosen = {
        row.account_id: row
        for row in NoticeChoice.objects.filter(kind=kind, account__in=[person.pk for person in people])
    }
    rows, now = [], timezone.now()
    for person in {person.pk: person for person in people}.values():
        choice = chosen.get(person.pk)
        if (actor and person.pk == actor.pk) or (choice and not choice.in_site and not choice.by_mail):
            continue
        by_mail = bool(person.email) and (choice is None or choice.by_mail)
        rows.append(
            Notice(
                account=person, actor=actor, kind=kind, repo=repo, text=text[:300], url=url[:400],
                mailed_at=None if by_mail else now, read_at=now if choice and not choice.in_site else None,
            )
        )  # fmt: skip
    return Notice.objects.bulk_create(rows)


def notices_of(actor: Actor) -> QuerySet[Notice]:
    """A person's notices about repos they may (still) read, the newest first."""
    readable = Q(repo=None) | Q(repo__in=Repo.objects.visible_to(actor))
    return Notice.objects.filter(readable, account=actor.account).select_related("actor", "repo__owner")


def mark_read(actor: Actor, keys: Iterable[int] | None = None) -> int:
    """Mark some notices (or all) as read; returns how many were not."""
    rows = Notice.objects.filter(account=actor.account, read_at=None)
    if keys is not None:
        rows = rows.filter(pk__in=list(keys))
    return rows.update(read_at=timezone.now())


def choices_of(account: Account) -> list[NoticeChoice]:
    """A row for each kind: the person's choice, or the default."""
    made = {row.kind: row for row in NoticeChoice.objects.filter(account=account)}
    return [made.get(kind) or NoticeChoice(account=account, kind=kind) for kind in NoticeKind.values]


def choose(account: Account, kind: str, *, in_site: bool, by_mail: bool) -> None:
    """Set one choice. Raises ValueError for an unknown kind."""
    if kind not in NoticeKind.values:
        raise ValueError(f"There is no kind of notice called '{kind[:40]}'.")
    NoticeChoice.objects.update_or_create(account=account, kind=kind, defaults={"in_site": in_site, "by_mail": by_mail})


def unsubscribe_url(account: Account, kind: str) -> str:
    """An address that switches one kind of mail off without signing in."""
    return f"{settings.PUBLIC_URL}/notices/unsubscribe/{signing.dumps([account.pk, kind], salt=SALT)}"


def read_unsubscribe(text: str) -> tuple[Account, str] | None:
    """Whose mail of which kind an address switches off; None if it was not made here."""
    try:
        key, kind = signing.loads(text, salt=SALT)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    account = Account.objects.filter(pk=key).first()
    return (account, kind) if account and kind in NoticeKind.values else None


def send_mail(limit: int = 200) -> int:
    """Mail what waits; a row is marked in the same transaction that sends it, so two beats send nothing twice.

    What cannot be sent is logged and marked too: it stays in the site, and no mail behind it waits.
    """
    sent = 0
    keys = Notice.objects.filter(mailed_at=None).order_by("created_at").values_list("pk", flat=True)[:limit]
    for key in list(keys):
        with transaction.atomic():
            row = (
                Notice.objects.select_for_update(skip_locked=True, of=("self",))
                .select_related("account", "repo__owner")
                .filter(pk=key, mailed_at=None)
                .first()
            )
            if row is None:
                continue
            row.mailed_at = timezone.now()
            row.save(update_fields=["mailed_at"])
            visible = Repo.objects.visible_to(actor_for(row.account))
            readable = row.repo is None or visible.filter(pk=row.repo.pk).exists()
            if not row.account.email or not readable:
                continue
            try:
                _mail_of(row).send()
            except Exception:
                log.exception("notice %s could not be mailed", key)
            else:
                sent += 1
    return sent


def _mail_of(row: Notice) -> EmailMessage:
    leave, line = unsubscribe_url(row.account, row.kind), " ".join(row.text.split())
    return EmailMessage(
        f"[{settings.SITE_NAME}] {line[:120]}",
        f"{row.text}\n\n{settings.PUBLIC_URL}{row.url}\n\n-- \nNo more mail of this kind: {leave}\n",
        settings.DEFAULT_FROM_EMAIL, [row.account.email], headers={"List-Unsubscribe": f"<{leave}>"},
    )  # fmt: skip
