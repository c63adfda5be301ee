"""Suites: tasks at pinned commits, each with its protocol. A version never changes; a changed suite is a new one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.repos.models import Kind, Repo
from hub.rights import Denied
from merges.models import Suite, SuiteEntry
from merges.work.evaluating import has_test_split, read_settings, settings_key
from merges.work.subjects import BadRequest, pin

MOST_TASKS = 100


@dataclass(frozen=True)
class Part:
    """One task of a suite as it is asked for: a name, a revision (the head without one), and a protocol's settings."""

    task: str
    revision: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def publish_suite(*, actor: Actor, name: str, title: str, parts: Sequence[Part], description: str = "") -> Suite:
    """A new suite, or the next version of one's own. Raises BadRequest, Denied."""
    if actor.account is None or not actor.may_write:
        raise Denied("Sign in (or use a token with the write scope) to publish a suite.")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,59}", name):
        raise BadRequest("A suite's name has 2 to 60 small letters, digits and hyphens.")
    if not 0 < len(parts) <= MOST_TASKS:
        raise BadRequest(f"A suite has 1 to {MOST_TASKS} tasks.")
    pinned = [(pin(part.task, actor, kinds=(Kind.TASK,), revision=part.revision), part) for part in parts]
    for found, _part in pinned:
        if found.repo.private:
            raise BadRequest(f"{found.name} is private; a suite is public, and so are its tasks.")
        if not has_test_split(found.repo, found.commit):
            raise BadRequest(f"{found.name} has no test split at this revision.")
    settings = [read_settings(part.settings) for part in parts]
    try:
        with transaction.atomic():
            earlier = Suite.objects.filter(name=name).order_by("-version").first()
            if earlier and earlier.owner_id != actor.account.pk and not actor.is_maintainer:
                raise Denied(f"The suite {name} is somebody else's; choose another name.")
            version = (Suite.objects.filter(name=name).aggregate(n=Max("version"))["n"] or 0) + 1
            suite = Suite.objects.create(
                name=name, version=version, title=title.strip()[:120] or name, description=description.strip()[:5000],
                owner=actor.account,
            )  # fmt: skip
            SuiteEntry.objects.bulk_create([
                SuiteEntry(suite=suite, task=found.repo, task_sha=found.commit.sha, settings=chosen,
                           settings_key=settings_key(chosen), position=number,
                           metric=str(found.repo.facts.get("metric") or "accuracy")[:40])
                for number, ((found, _part), chosen) in enumerate(zip(pinned, settings, strict=True))
            ])  # fmt: skip
            record(actor.account, "publish_suite", name=name, version=version)
    except IntegrityError as error:
        raise BadRequest(
            "The suite names one task twice with the same settings, or was published at this moment."
        ) from error
    return suite


def visible_entries(actor: Actor, suite: Suite) -> list[SuiteEntry]:
    """A suite's tasks that the actor may (still) read."""
    readable = Repo.objects.visible_to(actor)
    return list(suite.entries.filter(task__in=readable).select_related("task__owner"))
