"""Advice for a new task given by examples: use a specialist as it is, start from one, or merge some.

Two steps: which tasks and adapters are near (texts and question), then which adapters are known to be good at those.
The cheap answer comes at once; the job `merges.advise` measures the best candidates on the examples themselves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adapters.answering import line
from adapters.catalog import bases, local
from adapters.models import Embedding, Lineage, Relation
from adapters.search.filters import Filters
from adapters.search.relatives import Relative, near_examples, nearest_question
from hub.accounts.actor import Actor
from hub.jobs.models import Job
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos.models import Commit, Kind, Repo
from merges.models import Evaluation
from merges.work.subjects import BadRequest, pin

FEWEST, MOST = 8, 64
SHOWN, MEASURED = 8, 5
FITS = 0.55
"""From this nearness of texts on, a specialist with exactly these labels may be used as it is."""
MERGE_FROM = 0.35
FILES = ("adapter_config.json", "adapter_model.safetensors", "labels.json")


@dataclass
class Lead:
    """One adapter worth a try: why, and what is known of it."""

    repo: Repo
    texts: float = 0.0
    question: float = 0.0
    task: Repo | None = None
    score: float | None = None
    same_labels: bool = False

    @property
    def merit(self) -> float:
        """What leads are ranked by: nearness of texts and question, helped by a measured score on a near task."""
        return 0.5 * self.texts + 0.5 * self.question + (0.2 * (self.score or 0.0) if self.task else 0.0)


@dataclass
class Advice:
    """The cheap answer; `verdict` says in a sentence what to do first."""

    verdict: str
    tasks: list[Relative] = field(default_factory=list)
    leads: list[Lead] = field(default_factory=list)
    use: Lead | None = None
    merge: list[Lead] = field(default_factory=list)
    job: Job | None = None


def advise(actor: Actor, examples: Sequence[dict[str, str]], base: str = "", *, measure: bool = False) -> Advice:
    """Advice for 8 to 64 labelled examples [{text, label}]; with `measure` a job tries the best on them.

    Raises BadRequest, and the line's NobodyAnswers and CannotAnswer.
    """
    rows = checked(examples)
    if base:
        pin(base, actor, kinds=(Kind.BASE,))
    labels = [row["label"] for row in rows]
    told = line.ask("encode", actor, {"texts": [row["text"] for row in rows], "labels": labels})
    vectors, probe, version = np.asarray(told["vectors"], np.float32), str(told["probe"]), int(told["version"])
    filters = Filters(base=(base,)) if base else None
    asked = Embedding(method="question", version=int(told["question_version"]), probe=probe, count=len(told["head"]))
    asked.rows, asked.details = np.asarray(told["head"], "<f2").tobytes(), {"labels": sorted(set(labels))}
    tasks = near_examples(actor, vectors, probe, version, Filters(kind=(Kind.TASK,)), most=SHOWN)
    alike = near_examples(actor, vectors, probe, version, adapters_of(filters), most=3 * SHOWN)
    same = nearest_question(actor, asked, told["question"], adapters_of(filters), most=3 * SHOWN)
    leads = _ranked(actor, alike, same, tasks, frozenset(label.casefold() for label in labels))
    advice = _verdict(leads[:SHOWN], tasks)
    if measure and leads:
        advice.job = _queue(actor, leads[:MEASURED], rows)
    return advice


def adapters_of(filters: Filters | None) -> Filters:
    """The same filters, adapters only."""
    return Filters(kind=(Kind.ADAPTER,), base=filters.base if filters else ())


def checked(examples: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The examples, if they can be used. Raises BadRequest."""
    if not FEWEST <= len(examples) <= MOST:
        raise BadRequest(f"There are {len(examples)} examples; give between {FEWEST} and {MOST}, each with its label.")
    for number, row in enumerate(examples, start=1):
        if not row.get("text", "").strip() or not row.get("label", "").strip():
            raise BadRequest(f"Example {number} has no text or no label. Give both.")
    if len({row["label"] for row in examples}) < 2:
        raise BadRequest("All examples carry the same label. Give examples of at least two labels.")
    return list(examples)


def _ranked(
    actor: Actor, alike: list[Relative], same: list[Relative], tasks: list[Relative], wanted: frozenset[str]
) -> list[Lead]:
    leads: dict[Any, Lead] = {}
    for near in alike:
        leads.setdefault(near.repo.pk, Lead(near.repo)).texts = max(near.score, 0.0)
    for near in same:
        leads.setdefault(near.repo.pk, Lead(near.repo)).question = max(near.score, 0.0)
    readable = [near.repo for near in tasks]
    for row in (
        Evaluation.objects.visible_to(actor)
        .filter(task__in=readable, score__isnull=False)
        .select_related("task__owner")
    ):
        lead = leads.get(row.subject_id)
        if lead is not None and (lead.score or 0.0) < (row.score or 0.0):
            lead.task, lead.score = row.task, row.score
    taught = Lineage.objects.filter(child__in=list(leads), parent__in=readable, relation=Relation.TAUGHT_ON)
    for link in taught.select_related("parent__owner"):
        lead = leads[link.child_id]
        lead.task = lead.task or link.parent
    for lead in leads.values():
        own = frozenset(str(label).casefold() for label in lead.repo.facts.get("labels") or ())
        lead.same_labels = own == wanted
    return sorted(leads.values(), key=lambda lead: -lead.merit)


def _verdict(leads: list[Lead], tasks: list[Relative]) -> Advice:
    if not leads:
        return Advice("No specialist here is near. Teach a new one from the base.", tasks)
    use = next((lead for lead in leads if lead.same_labels and lead.texts >= FITS), None)
    first = leads[0]
    same_base = [lead for lead in leads if lead.repo.facts.get("base") == first.repo.facts.get("base")]
    merge = [lead for lead in same_base[:3] if lead.merit >= MERGE_FROM]
    if use is not None:
        sentence = f"Try {use.repo.full_name} as it is: it gives these labels, and your texts are like its own."
    elif first.merit >= MERGE_FROM:
        sentence = f"Start from {first.repo.full_name}: it is the nearest to your texts and your question."
    else:
        sentence = "Nothing here is very near. Start from the base, or measure the nearest first."
    return Advice(sentence, tasks, leads, use, merge if len(merge) > 1 else [])


def _queue(actor: Actor, leads: list[Lead], rows: list[dict[str, str]]) -> Job:
    base = leads[0].repo.facts.get("base") or ""
    if not actor.may_write or actor.account is None:
        raise BadRequest("Sign in (or use a token that may write) to have candidates measured.")
    names = [lead.repo.full_name for lead in leads if lead.repo.facts.get("base") == base]
    return enqueue(
        "merges.advise", title=f"Try {len(names)} specialists on {len(rows)} examples", owner=actor.account,
        arguments={"base": base, "adapters": names, "examples": rows},
    )  # fmt: skip


def run(running: Running) -> dict[str, Any]:
    """The job: a linear probe on each candidate's frozen features, on parts of the examples held back."""
    from adapters.runtime.errors import RuntimeFault
    from adapters.runtime.examples import examples_of
    from merges.training.settings import Settings
    from merges.training.starts import choose, try_starts

    actor, asked = running.actor, running.arguments
    base = bases.find_base(asked["base"], actor)
    head = bases.head_of(base) if base else None
    if base is None or head is None:
        raise JobFailed(f"The base {asked['base'] or 'of these specialists'} is no longer here for you.")
    examples = examples_of(asked["examples"])
    with tempfile.TemporaryDirectory(prefix="tessera-advise-") as scratch:
        local.materialise(base, head, Path(scratch) / "base")
        places: dict[str, Path] = {}
        for name in asked["adapters"]:
            try:
                pinned = pin(name, actor, kinds=(Kind.ADAPTER,))
            except BadRequest:
                continue
            places[name] = Path(scratch) / f"adapter{len(places)}"
            commit = Commit.objects.get(repo=pinned.repo, sha=pinned.commit.sha)
            local.materialise(pinned.repo, commit, places[name], lambda path: path in FILES)
        labels = sorted({row.label for row in examples})
        try:
            trials = try_starts(Path(scratch) / "base", places, examples, (), labels, Settings(), running.progress)
        except RuntimeFault as error:
            raise JobFailed(str(error)) from error
    best, why = choose(trials)
    return {
        "best": best.name, "why": why,
        "tried": [{"name": t.name, "right": t.right, "n": t.n, "error": t.error} for t in trials],
    }  # fmt: skip
