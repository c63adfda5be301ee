"""The job `merges.generalist`: a release's merge on every task of the System, beside the System itself."""

from __future__ import annotations

import math
from typing import Any

from adapters.runtime.errors import RuntimeFault
from hub.jobs.running import JobFailed, Running
from hub.repos.models import Kind
from merges.evaluation.declared import EvaluationFault
from merges.evaluation.metrics import standard_error
from merges.models import Merge, Release
from merges.systems.manifest import parse
from merges.work.evaluating import Wanted, row_for
from merges.work.judging import Bench, keep
from merges.work.subjects import Pinned, pin


def run(running: Running) -> dict[str, Any]:
    """Judge the merge on each member's task; tasks judged before are not judged again. Raises JobFailed."""
    release = Release.objects.select_related("system__owner", "generalist__repo__owner").get(
        pk=running.arguments["release"]
    )
    merge = release.generalist
    if merge is None or not merge.result_sha:
        raise JobFailed("The merge of this release did not end with a commit.")
    manifest = parse(release.manifest)
    base = pin(manifest.base.repo, running.actor, kinds=(Kind.BASE,), revision=manifest.base.sha)
    tasks = {(one.task.repo, one.task.sha) for one in manifest.members}
    lines = []
    with Bench(running.progress) as bench:
        for name, sha in sorted(tasks):
            task = pin(name, running.actor, kinds=(Kind.TASK,), revision=sha)
            lines.append(_line(running, bench, _subject(merge), base, task))
    scores = _summary(lines) | {"sha": merge.result_sha, "tasks": lines}
    with running.adopt():
        fresh = Release.objects.select_for_update().get(pk=release.pk)
        Release.objects.filter(pk=release.pk).update(scores=fresh.scores | {"generalist": scores})
    return {"score": scores["score"], "tasks": len(lines)}


def _subject(merge: Merge) -> Pinned:
    return Pinned(merge.repo, merge.repo.commits.get(sha=merge.result_sha))


def _line(running: Running, bench: Bench, subject: Pinned, base: Pinned, task: Pinned) -> dict[str, Any]:
    row = row_for(running.actor, Wanted(subject, base, task, 0, {}))
    try:
        if row.score is None:
            keep(running, row, bench.judge(row))
    except (EvaluationFault, RuntimeFault, JobFailed) as error:
        return {"task": task.name, "error": str(error)[:500]}
    share, n = row.scores["values"]["accuracy"], row.n or 0
    return {"task": task.name, "score": share, "n": n, "standard_error": standard_error(share, n), "evaluation": row.pk}


def _summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over tasks, with its standard error; none while a task could not be judged, so that means compare."""
    failed = [line for line in lines if "error" in line]
    if failed or not lines:
        return {"score": None, "error": failed[0]["error"] if failed else "There is no task to judge it on."}
    return {
        "score": sum(line["score"] for line in lines) / len(lines),
        "standard_error": math.sqrt(sum(line["standard_error"] ** 2 for line in lines)) / len(lines),
    }
