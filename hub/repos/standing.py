"""What the community holds of a repo: in good standing, yanked, or quarantined. Every move has a reason and a way back.

Yanked: it stays readable, lists leave it out, and only whoever names the exact commit still gets its bytes, so that
what was built on it goes on working. Quarantined: only its owners and maintainers still find it (`hub.rights`).
"""

from __future__ import annotations

import re

from django.db import transaction

from hub import rights
from hub.accounts.actor import Actor
from hub.activity.notices import tell
from hub.activity.record import record
from hub.repos.models import Repo, Standing
from hub.rights import Denied, Verb

VERBS = {Standing.GOOD: "restore", Standing.YANKED: "yank", Standing.QUARANTINED: "quarantine"}
_SHA = re.compile(r"[0-9a-f]{40}")


class BadStanding(ValueError):
    """A standing that does not exist, or one without a reason."""


class Yanked(Exception):
    """The repo was yanked, and the request did not name an exact commit."""


def may_set(actor: Actor, repo: Repo, standing: str) -> bool:
    """Owners yank and restore what is theirs; quarantine is for maintainers, and lifting it never for the owner."""
    if Standing.QUARANTINED in (standing, repo.standing):
        if actor.account is None or not rights.can(actor, Verb.REVIEW, repo):
            return False
        return standing == Standing.QUARANTINED or not rights.is_own_work(actor.account, repo, None)
    return rights.can(actor, Verb.ADMIN, repo) or rights.can(actor, Verb.REVIEW, repo)


def set_standing(*, actor: Actor, repo: Repo, standing: str, reason: str = "") -> Repo:
    """Yank, quarantine or restore a repo. Raises Denied, BadStanding."""
    if standing not in Standing.values:
        raise BadStanding(f"A repo's standing is one of {', '.join(Standing.values)}.")
    if not may_set(actor, repo, standing):
        raise Denied("Owners may yank their repos; quarantine is set and lifted by maintainers, never on their own.")
    reason = reason.strip()[:1000]
    if not reason:
        raise BadStanding("Say why: whoever uses this repo will read the reason.")
    with transaction.atomic():
        locked = Repo.objects.select_for_update(of=("self",)).select_related("owner").get(pk=repo.pk)
        before, locked.standing = locked.standing, standing
        locked.standing_reason = "" if standing == Standing.GOOD else reason
        locked.save(update_fields=["standing", "standing_reason"])
        record(actor.account, VERBS[Standing(standing)], repo=locked, reason=reason, before=before)
        text, owner = f"{locked.full_name} is now {standing}: {reason}", locked.owner
        people = list(owner.members.all()) if owner.is_organisation else [owner]
        if people:
            tell(people, "standing", text, locked.get_absolute_url(), actor=actor.account, repo=locked)
    return locked


def require_usable(repo: Repo, revision: str | None) -> None:
    """Refuse to hand out a yanked repo to whoever does not name the exact commit. Raises Yanked."""
    if repo.standing == Standing.YANKED and not _SHA.fullmatch(revision or ""):
        raise Yanked(
            f"{repo.full_name} was yanked: {repo.standing_reason} "
            "To use it nevertheless, name the exact commit (40 hexadecimal digits) as the revision."
        )
