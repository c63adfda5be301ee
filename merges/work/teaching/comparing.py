"""The honest comparison of a taught specialist: asked for once, run by a worker, kept with the teaching."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from django.conf import settings as site
from django.db import transaction

from adapters.catalog import local
from adapters.catalog.tasks import TaskRows
from adapters.runtime.prompts import DEFAULT_TEMPLATE
from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.record import record
from hub.jobs.models import Job, State
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos.models import Commit, Repo
from hub.rights import Denied
from merges.models import Teaching
from merges.training.settings import Settings
from merges.work.subjects import BadRequest, Pinned
from merges.work.teaching import starts
from merges.work.teaching.data import rows_taught
from merges.work.teaching.quota import check_waiting

MOST_TESTS = {True: 100, False: 500}
"""Test texts a comparison uses: few for causal bases, where every one costs a prompt full of examples."""


def ask_for_comparison(*, actor: Actor, row: Teaching) -> Teaching:
    """Queue the comparison of a finished teaching; while it waits or stands, the same is answered.

    Raises BadRequest (not taught yet, nothing to test on), TooMany, Denied.
    """
    if not actor.may_write or actor.account is None:
        raise Denied("Sign in (or use a token with the write scope) to ask for a comparison.")
    rights.require(actor, rights.Verb.WRITE, row.repo)
    if not row.result_sha:
        raise BadRequest("This specialist is not taught yet: wait for its job.")
    if not rows_taught(row).split("test"):
        raise BadRequest(f"{row.task.full_name} has no test split to compare on. Add test.jsonl and teach again.")
    with transaction.atomic():
        row = Teaching.objects.select_for_update(of=("self",)).get(pk=row.pk)
        if row.comparing and row.comparing.state not in (State.FAILED, State.CANCELLED):
            return row
        check_waiting(Account.objects.select_for_update().get(pk=actor.account.pk))
        row.comparing = enqueue(
            "merges.compare_teaching", title=f"Compare {row.repo.full_name} with what else its examples could do",
            arguments={"teaching": row.pk}, owner=actor.account, repo=row.repo, queue=_queue(row),
        )  # fmt: skip
        row.save(update_fields=["comparing"])
        record(actor.account, "ask_for_comparison", repo=row.repo, job=str(row.comparing.pk))
    return row


def run(running: Running) -> dict[str, Any]:
    """The job. Raises JobFailed with a sentence for what cannot be compared."""
    from adapters.runtime.bases import library_versions
    from adapters.runtime.errors import RuntimeFault
    from adapters.tasks.sampling import drawn
    from merges.training.comparison import compare

    row = Teaching.objects.select_related("repo__owner", "task__owner", "base__owner").get(
        pk=running.arguments["teaching"]
    )
    actor = running.actor
    _require_readable(row, actor)
    rows = rows_taught(row)
    train, test = rows.examples("train"), rows.examples("test")
    labels = list(rows.labels) or sorted({example.label for example in train})
    with tempfile.TemporaryDirectory(prefix="tessera-compare-") as scratch:
        places = Path(scratch)
        running.progress(0, 4, "Fetching the files")
        assert row.base is not None
        local.materialise(row.base, Commit.objects.get(repo=row.base, sha=row.base_sha), places / "base")
        made = Pinned(row.repo, Commit.objects.get(repo=row.repo, sha=row.result_sha))
        specialist = starts.fetch(made, places / "specialist")
        near = _nearest(row, actor, rows)
        taught = Settings.from_dict(row.settings)
        started = time.perf_counter()
        try:
            ways = compare(
                places / "base", specialist, train, drawn(test, MOST_TESTS[_causal(places / "base")]), labels,
                nearest=starts.fetch(near, places / "nearest") if near else None,
                nearest_template=_template_of(near) if near else "", progress=running.progress,
                max_length=taught.max_length, template=taught.template, threads=site.TORCH_THREADS,
            )  # fmt: skip
        except RuntimeFault as error:
            raise JobFailed(str(error)) from error
    comparison = {
        "ways": ways, "nearest": near.name if near else "", "seconds": round(time.perf_counter() - started, 2),
        "versions": library_versions(),
    }  # fmt: skip
    with running.adopt():
        Teaching.objects.filter(pk=row.pk).update(comparison=comparison)
    return {"accuracy": ways[0]["accuracy"], "n": ways[0]["n"]}


def _require_readable(row: Teaching, actor: Actor) -> None:
    wanted = {found for found in (row.repo_id, row.task_id, row.base_id) if found is not None}
    if row.base_id is None or Repo.objects.visible_to(actor).filter(pk__in=wanted).count() != len(wanted):
        raise JobFailed("The specialist, its task or its base can no longer be read by whoever asked for this.")


def _nearest(row: Teaching, actor: Actor, rows: TaskRows) -> Pinned | None:
    """The relative that did best when starts were tried, else the nearest; none that was taught on the test's texts."""
    known = starts.candidates(actor, row, str(row.settings.get("method", "lora")))
    found = starts.apart_from_test(actor, row, known, rows)
    tried = {trial["name"]: trial.get("right", 0) for trial in row.start.get("tried", [])}
    return max(found, key=lambda item: tried.get(item.name, -1), default=None)


def _template_of(specialist: Pinned) -> str:
    """The prompt it was taught with; the usual one where it was not taught here."""
    found = Teaching.objects.filter(repo=specialist.repo, result_sha=specialist.commit.sha)
    return str(found.values_list("settings__template", flat=True).first() or DEFAULT_TEMPLATE)


def _causal(base: Path) -> bool:
    from adapters.runtime.bases import family_of

    return family_of(base) == "causal"


def _queue(row: Teaching) -> str:
    return Job.objects.filter(pk=row.job_id).values_list("queue", flat=True)[0]
