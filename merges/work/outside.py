"""Scores measured elsewhere: a card's claims, and results of lm-evaluation-harness; shown as what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from adapters.models import Inspection
from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.record import record
from hub.repos.models import Commit, Kind, Repo
from hub.rights import Denied
from merges.evaluation.lm_eval import OurScore, OutsideScore, read_results, write_results
from merges.evaluation.metrics import wilson_interval
from merges.models import Evaluation, Origin
from merges.work.subjects import BadRequest, pin

CLAIMED_METRICS = {"accuracy": "accuracy", "acc": "accuracy", "f1": "macro_f1", "macro_f1": "macro_f1", "mcc": "mcc"}


def import_results(
    *, actor: Actor, subject: str, results: Any, tasks: Mapping[str, str], revision: str | None = None
) -> list[Evaluation]:
    """Keep the scores of a results file of lm-evaluation-harness. `tasks` maps its task names to tasks here.

    Scores of one's own work count as claimed, of others' as community. Raises BadResults, BadRequest, Denied.
    """
    if actor.account is None or not actor.may_write:
        raise Denied("Sign in (or use a token with the write scope) to bring results.")
    judged = pin(subject, actor, kinds=(Kind.ADAPTER, Kind.BASE), revision=revision)
    scores = [score for score in read_results(results) if score.task in tasks]
    if not scores:
        raise BadRequest("None of the results' tasks is named in 'tasks' (their name → owner/name here).")
    own = rights.is_own_work(actor.account, judged.repo, judged.commit.author)
    origin = Origin.CLAIMED if own else Origin.COMMUNITY
    with transaction.atomic():
        rows = []
        for score in scores:
            on = pin(tasks[score.task], actor, kinds=(Kind.TASK,))
            rows.append(_keep(actor.account, judged.repo, judged.commit, on.repo, on.commit.sha, score, origin))
        record(actor.account, "import_results", repo=judged.repo, count=len(rows))
    return rows


def _keep(
    owner: Account, subject: Repo, commit: Commit, task: Repo, task_sha: str, score: OutsideScore, origin: str
) -> Evaluation:
    metric = "accuracy" if "accuracy" in score.scores else next(iter(score.scores))
    value, low, high = score.scores[metric], None, None
    if metric == "accuracy" and 0 <= value <= 1:
        low, high = wilson_interval(round(value * score.n), score.n)
    settings = {"shots": score.shots} if score.shots else {}
    key = hashlib.sha256(f"{owner.pk}:{sorted(settings.items())}".encode()).hexdigest()[:16]
    return Evaluation.objects.update_or_create(
        subject=subject, subject_sha=commit.sha, task=task, task_sha=task_sha, split="test", seed=score.seed,
        settings_key="" if origin == Origin.CLAIMED and not settings else key, origin=origin,
        defaults={
            "owner": owner, "metric": metric, "score": value, "standard_error": score.standard_error, "low": low,
            "high": high, "n": score.n, "protocol": "lm-eval", "settings": settings, "versions": score.versions,
            "scores": {"values": score.scores},
        },
    )[0]  # fmt: skip


def claims(card: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """(task, metric, value) of each score a card's `model-index` claims, from 0 to 1; what is odd is left out."""
    found = []
    index = card.get("model-index")
    for model in index if isinstance(index, list) else []:
        results = model.get("results") if isinstance(model, Mapping) else None
        for result in results if isinstance(results, list) else []:
            found += _claims_of(result) if isinstance(result, Mapping) else []
    return found[:50]


def _claims_of(result: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    data, listed = result.get("dataset"), result.get("metrics")
    name = (data.get("type") or data.get("name")) if isinstance(data, Mapping) else None
    if not isinstance(name, str) or name.count("/") != 1:
        return []
    found = []
    for metric in listed if isinstance(listed, list) else []:
        kind, value = (metric.get("type"), metric.get("value")) if isinstance(metric, Mapping) else (None, None)
        if str(kind) in CLAIMED_METRICS and isinstance(value, int | float) and not isinstance(value, bool):
            share = value / 100 if value > 1 else float(value)
            if -1 <= share <= 1:
                found.append((name, CLAIMED_METRICS[str(kind)], share))
    return found


def keep_claims(repo: Repo, commit: Commit, card: Mapping[str, Any], actor: Actor) -> list[Evaluation]:
    """A row for each claim about a task that this hub has and the author may read."""
    rows = []
    for name, metric, value in claims(card):
        task = Repo.objects.tasks().with_id(name).visible_to(actor).select_related("owner").first()
        if task is None or not task.head:
            continue
        n = test_rows(task)
        if n:
            score = OutsideScore(name, {metric: value}, None, n, 0, {}, 0)
            rows.append(_keep(actor.account or repo.owner, repo, commit, task, task.head, score, Origin.CLAIMED))
    return rows


def test_rows(task: Repo) -> int:
    """How many test rows a task has at its head, as measured."""
    row = Inspection.objects.filter(repo=task, sha=task.head).first()
    split = ((row.facts.get("splits") or {}).get("test") or {}) if row else {}
    return int(split.get("rows") or 0)


def export_results(rows: list[Evaluation]) -> dict[str, Any]:
    """Evaluations of one subject as lm-evaluation-harness writes them."""
    first = rows[0]
    scores = [
        OurScore(row.task.full_name.replace("/", "--"), row.task_sha, row.scores.get("values") or {},
                 row.standard_error if row.metric == "accuracy" else None, row.n or 1,
                 int(row.settings.get("shots", 0)))
        for row in rows
    ]  # fmt: skip
    parameters = first.subject.facts.get("trained_parameters") or first.subject.facts.get("base_parameters")
    return write_results(
        scores, model=first.subject.full_name, parameters=parameters, device=first.device, seed=first.seed,
        seconds=sum(row.seconds or 0 for row in rows), versions=first.versions,
    )  # fmt: skip
