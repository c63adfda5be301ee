"""One delivery: a job. What fails is tried again by the job's own rule; who fails for long is switched off."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import F

from hub import rights
from hub.accounts.actor import Actor, actor_for
from hub.jobs.models import Job
from hub.jobs.registry import MAX_ATTEMPTS
from hub.jobs.running import JobFailed, Running, TryAgain
from hub.repos.models import DEFAULT_BRANCH
from hub.rights import Verb
from hub.webhooks import addresses
from hub.webhooks.keeping import require_owner
from hub.webhooks.models import Webhook
from hub.webhooks.payloads import payload
from hub.webhooks.watching import KIND, deliver, has_room, newest_watched, repo_of

OFF_AFTER = 20
"""Failed deliveries in a row."""


def send_test(*, actor: Actor, row: Webhook) -> Job:
    """Queue one delivery now: the current state of the newest repo it watches. Raises Denied, ValidationError."""
    require_owner(actor, row)
    repo = newest_watched(row)
    if repo is None:
        raise ValidationError("It watches no repo that you may read yet, so there is nothing to tell of.")
    if row.disabled:
        raise ValidationError("This webhook is switched off. Switch it on first.")
    if not has_room(row):
        raise ValidationError("Too many deliveries of yours wait already. Try again when some have ended.")
    data = {"ref": f"refs/heads/{DEFAULT_BRANCH}", "sha": repo.head}
    return deliver(row, repo, "update", "repo.content", data, "a test")


def recent(rows: Sequence[Webhook], most: int = 5) -> dict[str, list[Job]]:
    """The last deliveries of some webhooks of one person, by key, the newest first."""
    found: dict[str, list[Job]] = {row.key: [] for row in rows}
    jobs = Job.objects.filter(kind=KIND, arguments__webhook__in=list(found), owner__in={row.owner_id for row in rows})
    for job in jobs.order_by("-created_at")[: 20 * most]:
        kept = found[job.arguments["webhook"]]
        if len(kept) < most:
            kept.append(job)
    return found


def run(running: Running) -> dict[str, Any]:
    """Job `webhooks.deliver`. Rights are asked again: what was readable when it was queued may not be any more."""
    arguments = running.arguments
    webhook = Webhook.objects.select_related("owner").filter(key=arguments["webhook"]).first()
    repo = repo_of(arguments)
    if webhook is None or webhook.disabled or repo is None:
        return {"delivered": "not needed any more"}
    if not rights.can(actor_for(webhook.owner), Verb.READ, repo):
        return {"delivered": "not allowed any more"}
    body = json.dumps(payload(webhook, repo, arguments)).encode()
    try:
        status = addresses.post(webhook.url, body, headers(webhook, body, str(running.job.pk))).status
        problem = "" if 200 <= status < 300 else f"The address answered {status}."
    except addresses.Unreachable as error:
        status, problem = 0, str(error)
    if not problem:
        Webhook.objects.filter(pk=webhook.pk).update(failures=0, last_error="")
        return {"delivered": "yes", "status": status}
    if running.attempt < MAX_ATTEMPTS and status not in (400, 401, 403, 404, 405, 410):
        raise TryAgain(problem)
    _failed(webhook, problem)
    raise JobFailed(problem)


def headers(webhook: Webhook, body: bytes, delivery: str) -> dict[str, str]:
    """The signature is HMAC-SHA256 of the body under the secret; the secret itself goes along for receivers of old."""
    found = {"Content-Type": "application/json", "User-Agent": "tessera-webhooks", "X-Webhook-Delivery": delivery}
    if webhook.secret:
        digest = hmac.new(webhook.secret.encode(), body, hashlib.sha256).hexdigest()
        found |= {"X-Webhook-Signature": f"sha256={digest}", "X-Webhook-Secret": webhook.secret}
    return found


def _failed(webhook: Webhook, problem: str) -> None:
    rows = Webhook.objects.filter(pk=webhook.pk)
    rows.update(failures=F("failures") + 1, last_error=problem[:300])
    rows.filter(failures__gte=OFF_AFTER).update(disabled=True)
