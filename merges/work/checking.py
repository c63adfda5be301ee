"""The job `merges.check`: automatic checks of one proposed commit, each a Check with its evidence.

Idempotent: verdicts are replaced, evaluations are cached by content. A check that fails unexpectedly is tried again
with the job; after the last try it is written as a failed check, and the others stand.
"""

from __future__ import annotations

import logging
from typing import Any

from adapters.catalog import bases
from adapters.catalog.inspecting import inspect, kind_at
from adapters.formats.findings import Finding
from adapters.models import Inspection
from adapters.runtime.errors import RuntimeFault
from hub.accounts.actor import actor_for
from hub.jobs.limits import is_out_of_memory
from hub.jobs.models import Job
from hub.jobs.reasons import reason_of
from hub.jobs.registry import MAX_ATTEMPTS, kind_named
from hub.jobs.running import Cancelled, JobFailed, LostLease, Running
from hub.numerals import key_of
from hub.repos import cards, trees
from hub.repos.models import Commit, Kind, Repo
from hub.review.checks import write_check
from hub.review.models import ChangeRequest
from merges.evaluation.declared import EvaluationFault
from merges.work.proposed import Proposed, checks_for

log = logging.getLogger(__name__)


def run(running: Running) -> dict[str, Any]:
    """Make every check that fits the kind of repo; returns the verdicts."""
    from merges.systems import running as _systems  # noqa: F401  # importing registers their checks
    from merges.work import checks as _registered  # noqa: F401

    repo = Repo.objects.select_related("owner").get(pk=running.arguments["repo"])
    commit = Commit.objects.select_related("author").get(repo=repo, sha=running.arguments["sha"])
    proposed = gather(running, repo, commit)
    verdicts: dict[str, str] = {}
    crash: Exception | None = None
    wanted = checks_for(proposed.kind)
    for number, (name, check) in enumerate(wanted):
        running.progress(number, len(wanted), f"Checking: {name}")
        try:
            finding = check(proposed)
        except (LostLease, Cancelled):
            raise
        except (JobFailed, EvaluationFault, RuntimeFault) as error:
            finding = Finding(name, "fail", str(error))
        except Exception as error:
            log.exception("check %s of %s at %s", name, repo, commit.short)
            finding = _not_made(name, error, running)
            if finding is None:
                crash = crash or error
                continue
        if finding is not None:
            verdicts[finding.name] = finding.verdict
            with running.adopt():
                write_check(
                    repo=repo, sha=commit.sha, name=finding.name, verdict=finding.verdict, summary=finding.summary,
                    details=finding.details, job=running.job,
                )  # fmt: skip
    if crash is not None:
        raise crash
    return {"verdicts": verdicts}


def _not_made(name: str, error: Exception, running: Running) -> Finding | None:
    """What is said of a check that failed unexpectedly; None while trying again is of use."""
    limits = kind_named(running.job.kind).limits
    if limits is not None and is_out_of_memory(error):
        return Finding(name, "fail", f"This check could not be made. {limits.too_much_memory()}")
    if running.attempt < MAX_ATTEMPTS:
        return None
    return Finding(name, "fail", f"This check could not be made, {MAX_ATTEMPTS} times. {reason_of(error)[:300]}")


def gather(running: Running, repo: Repo, commit: Commit) -> Proposed:
    """What is known of the commit: its inspection if it is there, else an inspection made now."""
    ref = str(running.arguments.get("ref", ""))
    request = ChangeRequest.objects.filter(repo=repo, number=key_of(ref.removeprefix("refs/pr/"))).first()
    actor = actor_for(commit.author or repo.owner)
    kind = repo.kind if repo.kind == Kind.SYSTEM else kind_at(repo, commit)
    proposed = Proposed(running, repo, commit, kind, actor, request)
    if kind == Kind.SYSTEM:
        return proposed
    known = Inspection.objects.filter(repo=repo, sha=commit.sha).first()
    seen = inspect(repo, commit, kind, actor)
    proposed.facts = dict(known.facts) if known else seen.facts
    proposed.findings, proposed.base = seen.findings, seen.base
    proposed.card = card_of(repo, commit)
    proposed.tasks = list({task.pk: task for task in seen.tasks}.values())
    if proposed.base is None and proposed.facts.get("base"):
        proposed.base = bases.find_base(str(proposed.facts["base"]), actor)
    return proposed


def card_of(repo: Repo, commit: Commit) -> dict[str, Any]:
    """The front matter at a commit; empty without a card."""
    try:
        return cards.front_matter(trees.get_file(repo, commit, "README.md").read())
    except trees.EntryNotFound:
        return {}


def job_failed(job: Job) -> None:
    """The job ended without finishing (its worker was lost three times, or it crashed): say so as a failed check."""
    repo = Repo.objects.filter(pk=job.arguments.get("repo")).first()
    if repo is None:
        return
    write_check(
        repo=repo, sha=str(job.arguments.get("sha", "")), name="checks", verdict="fail",
        summary=f"This could not be finished and was given up: {job.error or 'the worker was lost.'}"[:1000], job=job,
    )  # fmt: skip
