"""The job `merges.release`, and the checks of proposals to Systems: everything measured through the router."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.formats.findings import Finding
from adapters.routing import RoutingFault
from adapters.runtime.errors import RuntimeFault
from hub.accounts.actor import Actor
from hub.jobs.models import Job
from hub.jobs.running import JobFailed, Running
from hub.repos.models import Commit, Kind, Repo
from merges.evaluation.declared import EvaluationFault
from merges.models import Release, ReleaseState
from merges.systems import releases, routed
from merges.systems.manifest import BadManifest, Manifest, Pin, parse
from merges.work.judging import Bench
from merges.work.proposed import Proposed, register_check
from merges.work.subjects import BadRequest


def run(running: Running) -> dict[str, Any]:
    """Evaluate a candidate; release it, or hold it with a reason. A retry goes on from the candidate."""
    release = Release.objects.select_related("system__owner", "created_by").get(pk=running.arguments["release"])
    if release.state == ReleaseState.RELEASED:
        return {"state": release.state, "score": release.score}
    if release.state != ReleaseState.EVALUATING:
        release = releases.move(release, ReleaseState.EVALUATING)
    try:
        scores = measure(running, parse(release.manifest), running.actor)
    except (EvaluationFault, RuntimeFault, RoutingFault, BadManifest) as error:
        with running.adopt():
            releases.move(release, ReleaseState.HELD, held_because=str(error)[:1000])
        raise JobFailed(str(error)) from error
    before = releases.current(release.system)
    worse = routed.falls(before.scores.get("tasks", []), scores["tasks"]) if before else []
    fields = {"scores": scores, "score": scores["score"], "standard_error": scores["standard_error"]}
    with running.adopt():
        if worse:
            release = releases.move(release, ReleaseState.HELD, held_because=" ".join(worse)[:1000], **fields)
        else:
            release = releases.move(release, ReleaseState.RELEASED, **fields)
    return {"state": release.state, "score": release.score}


def job_failed(job: Job) -> None:
    """The evaluation of a candidate was given up: it is held with the reason, for a person to decide."""
    release = Release.objects.filter(pk=job.arguments.get("release")).first()
    if release is not None and release.state in (ReleaseState.CANDIDATE, ReleaseState.EVALUATING):
        because = f"Its evaluation was given up. {job.error}"[:1000]
        releases.move(release, ReleaseState.HELD, held_because=because)


def measure(running: Running, manifest: Manifest, actor: Actor) -> dict[str, Any]:
    """Scores of a manifest: one loaded base, every member, every task. Raises EvaluationFault, BadManifest, …"""
    with Bench(running.progress) as bench:
        base = _pinned(manifest.base, Kind.BASE, actor)
        specialists = []
        for one in manifest.members:
            adapter, task = _pinned(one.adapter, Kind.ADAPTER, actor), _pinned(one.task, Kind.TASK, actor)
            bench.files(adapter, one.adapter.sha)
            local, _metric = bench.task(task, one.task.sha)
            specialists.append(routed.Specialist(one.adapter.repo, Path(bench.place(adapter, one.adapter.sha)), local))
        panel = bench.panel(base, manifest.base.sha, 256)
        return routed.summary(routed.judge(panel, specialists, manifest.router, manifest.parameters, bench.progress))


def _pinned(pinned: Pin, kind: str, actor: Actor) -> Repo:
    repo = Repo.objects.filter(kind=kind).with_id(pinned.repo).visible_to(actor).select_related("owner").first()
    if repo is None or not Commit.objects.filter(repo=repo, sha=pinned.sha).exists():
        raise BadManifest(f"There is no {kind} {pinned.repo} at {pinned.sha[:7]} that may be read.")
    return repo


def manifest_valid(proposed: Proposed) -> Finding:
    """Everything pinned is here, public where the System is, and made for its base."""
    try:
        manifest = releases.manifest_at(proposed.repo, proposed.commit)
        _pinned(manifest.base, Kind.BASE, proposed.actor)
        for one in manifest.members:
            for pinned, kind in ((one.adapter, Kind.ADAPTER), (one.task, Kind.TASK)):
                repo = _pinned(pinned, kind, proposed.actor)
                if repo.private and not proposed.repo.private:
                    raise BadManifest(f"{pinned.repo} is not public, but the System is.")
                if repo.standing != "good":
                    raise BadManifest(f"{pinned.repo} is {repo.standing}.")
    except (BadManifest, BadRequest) as error:
        return Finding("manifest", "fail", str(error))
    return Finding("manifest", "pass", f"Its {len(manifest.members)} members are all here, each at a fixed commit.")


def system_scores(proposed: Proposed) -> Finding | None:
    """The System with the change against the current release: does the score rise, does any task fall, and does the
    router still send each task's inputs to its specialist?"""
    try:
        manifest = releases.manifest_at(proposed.repo, proposed.commit)
        scores = measure(proposed.running, manifest, proposed.actor)
    except (EvaluationFault, RuntimeFault, RoutingFault, BadManifest) as error:
        return Finding("system_scores", "fail", str(error))
    now = releases.current(proposed.repo)
    before = now.scores if now else {}
    worse = routed.falls(before.get("tasks", []), scores["tasks"])
    details = {"before": _short(before), "after": _short(scores), "falls": worse}
    astray = [one["task"] for one in scores["tasks"] if one["routed"] < 0.5]
    if worse:
        return Finding("system_scores", "fail", " ".join(worse)[:1000], details)
    if astray:
        sentence = f"The router sends most inputs of {', '.join(astray[:5])} to another specialist."
        return Finding("system_scores", "fail", sentence, details)
    if scores["score"] is None:
        return Finding("system_scores", "warn", "The System would have no members.", details)
    old = before.get("score")
    words = f"The mean over {len(scores['tasks'])} tasks is {scores['score']:.3f}"
    words += f" (now {old:.3f} over {len(before['tasks'])})." if old is not None else "."
    return Finding("system_scores", "pass", f"{words} No task falls; {scores['routed']:.0%} are routed right.", details)


def _short(scores: dict[str, Any]) -> dict[str, Any]:
    tasks = [{key: one[key] for key in ("task", "n", "score", "standard_error", "routed", "alone")}
             for one in scores.get("tasks", [])]  # fmt: skip
    return {"score": scores.get("score"), "routed": scores.get("routed"), "tasks": tasks}


register_check("manifest", (Kind.SYSTEM,), manifest_valid)
register_check("system_scores", (Kind.SYSTEM,), system_scores)
