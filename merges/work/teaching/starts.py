"""Which specialists a training may begin from, and which one it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings as site

from adapters.catalog import local
from adapters.catalog.tasks import TaskRows, read_task
from adapters.models import Lineage, Relation
from adapters.search.relatives import relatives
from adapters.tasks.reading import Row
from adapters.tasks.validation import normalised
from hub.accounts.actor import Actor
from hub.jobs.running import JobFailed
from hub.repos.models import Commit, Kind, Repo
from merges.models import Teaching
from merges.recipes import RecipeError
from merges.training.settings import Settings
from merges.work.subjects import BadRequest, Pinned, pin

MOST_CANDIDATES = 6
MOST_LOOKED_AT = 200
MOST_NEAR = 20
MOST_STEPS = 6
"""How far back it is asked what a specialist was made from."""
FILES = ("adapter_config.json", "adapter_model.safetensors", "labels.json")
COMBINED = {"merge": "mean of the nearest specialists", "lorahub": "LoraHub of the nearest specialists"}
MOST_COMBINED = 4
LORAHUB_TRIES = 12
TESTED = "texts this task tests with"
JUDGED = "examples that would have judged them"
SEEN = "It was taught on some of these examples before, so none of them can be held back to score it on."
METHODS = {"lora": ("LoRA", "rsLoRA"), "ia3": ("IA3",)}


def candidates(actor: Actor, row: Teaching, method: str) -> list[Pinned]:
    """Public specialists of the same base and method, never the one that is taught.

    The nearest by texts and question first (those taught on a near task too), then the latest.
    """
    if row.base is None or method not in METHODS:
        return []
    near = _near(actor, row)
    found = (
        Repo.objects.visible_to(actor)
        .filter(kind=Kind.ADAPTER, private=False, facts__base=row.base.full_name, facts__method__in=METHODS[method])
        .exclude(pk=row.repo_id)
        .exclude(head="")
        .select_related("owner")
        .order_by("-updated_at")[:MOST_LOOKED_AT]
    )
    nearest = sorted(found, key=lambda repo: near.get(repo.pk, len(near)))[:MOST_CANDIDATES]
    commits = Commit.objects.filter(repo__in=nearest, sha__in=[repo.head for repo in nearest])
    heads = {made.repo_id: made for made in commits}
    return [Pinned(repo, heads[repo.pk]) for repo in nearest if repo.pk in heads]


def apart_from_test(actor: Actor, row: Teaching, found: list[Pinned], rows: TaskRows) -> list[Pinned]:
    """Those not taught on texts that this task tests with, whose head start would be a lie.

    What was taught on this very task stays: its splits are its author's to keep apart.
    """
    known = knowing(actor, found, rows.split("test"), besides=row.task)
    return [item for item in found if item.repo.pk not in known]


def knowing(actor: Actor, found: list[Pinned], texts: Sequence[Row], besides: Repo | None = None) -> set[Any]:
    """Keys of the repos that were taught on one of these texts, or made from what was; `besides` is not looked at.

    At any of their commits, for a change of the card alone does not unteach. Tasks that the actor may not read stay
    unread, so that nobody can find out what is in them.
    """
    asked = {normalised(line) for line in texts}
    if not asked or not found:
        return set()
    above, tasks = _made_from(actor, {item.repo.pk for item in found})
    known = set()
    for (pk, sha), task in tasks.items():
        if besides is not None and pk == besides.pk:
            continue
        made = Commit.objects.filter(repo=task, sha=sha or task.head).first()
        if made and any(normalised(line) in asked for line in read_task(task, made).split("train")):
            known.add(pk)
    for _ in range(MOST_STEPS):
        known |= {child for child, parents in above.items() if parents & known}
    return known & {item.repo.pk for item in found}


def _made_from(actor: Actor, front: set[Any]) -> tuple[dict[Any, set[Any]], dict[tuple[Any, str], Repo]]:
    """What these repos were taught on, begun from and merged of, step by step: (parents by child, tasks by commit)."""
    above: dict[Any, set[Any]] = {}
    tasks: dict[tuple[Any, str], Repo] = {}
    for _ in range(MOST_STEPS):
        lines = Lineage.objects.filter(
            child__in=front,
            relation__in=(Relation.TAUGHT_ON, Relation.BEGUN_FROM, Relation.MERGE_OF),
            parent__in=Repo.objects.visible_to(actor),
        ).select_related("parent__owner")
        front = set()
        for line in lines:
            above.setdefault(line.child_id, set()).add(line.parent_id)
            if line.relation == Relation.TAUGHT_ON:
                tasks[line.parent_id, line.parent_sha] = line.parent
            elif line.parent_id not in above:
                front.add(line.parent_id)
    return above, tasks


def _near(actor: Actor, row: Teaching) -> dict[Any, int]:
    """Repos by nearness to the task that is taught: relatives, and what was taught on relatives. Nearest: 0."""
    found: dict[Any, int] = {}
    for kind in ("question", "texts"):
        for item in relatives(actor, row.task, kind, most=MOST_NEAR):
            taught = Lineage.objects.filter(parent=item.repo, relation=Relation.TAUGHT_ON)
            for pk in (item.repo.pk, *taught.values_list("child", flat=True)[:MOST_NEAR]):
                found.setdefault(pk, len(found))
    return found


def fetch(item: Pinned, folder: Path) -> Path:
    """An adapter's files as a local folder."""
    local.materialise(item.repo, item.commit, folder, lambda path: path in FILES)
    return folder


def decide(
    actor: Actor, row: Teaching, chosen: Settings, rows: TaskRows, labels: list[str], places: Path, progress: Any
) -> dict[str, Any]:
    """Where to begin, as the row keeps it: what was asked for, or for "auto" what did clearly better than the base.

    `places / "base"` holds the base's files. Raises JobFailed when what was asked for cannot be had.
    """
    asked = str(row.start.get("asked", "auto"))
    if asked == "base":
        return _decision("base", "Asked for.")
    judging = rows.split("validation") or rows.split("train")
    if asked not in ("auto", *COMBINED):
        start = [_pinned(asked, None, actor)]
        made = _decision(asked, "Asked for.", _sources(start, [1.0]))
        if knowing(actor, start, rows.split("test"), besides=row.task):
            made["why"] += " It was taught on texts this task tests with, so its score on the test split flatters it."
        return _judged(made, {item.name for item in start if knowing(actor, start, judging)})
    found = candidates(actor, row, chosen.method)
    usable = apart_from_test(actor, row, found, rows)
    known = knowing(actor, usable, judging)
    unseen = [item for item in usable if item.repo.pk not in known]
    left_out = [(TESTED, [item for item in found if item not in usable])]
    if asked in COMBINED:
        made = _combined(asked, usable, row, chosen, rows, labels, places, progress)
    elif not unseen:
        made = _decision("base", "There is no relative of this base and method to begin from.")
    else:
        made = _best(unseen, chosen, rows, labels, places, progress)
    if asked == "auto":
        left_out.append((JUDGED, [item for item in usable if item not in unseen]))
    for reason, items in left_out:
        if items:
            made["why"] += f" Not tried, for they were taught on {reason}: {', '.join(item.name for item in items)}."
    return _judged(made, {item.name for item in usable if item.repo.pk in known})


def _judged(made: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """The decision, marked "seen" where a source was taught on the examples that would judge the training."""
    if any(source["name"] in known for source in made["sources"]):
        made["seen"] = True
        made["why"] += f" {SEEN}"
    return made


def begin(row: Teaching, actor: Actor, chosen: Settings, places: Path) -> Path | None:
    """The start that was decided, as a local folder; None for the base. Raises JobFailed when it is gone."""
    sources = row.start.get("sources") or []
    if not sources:
        return None
    items = [_pinned(source["name"], source["sha"], actor) for source in sources]
    if len(items) == 1:
        return fetch(items[0], places / "start")
    from merges.training.starts import combine

    folders = {item.name: fetch(item, places / f"source-{number}") for number, item in enumerate(items)}
    weights = [float(source["weight"]) for source in sources]
    return combine(folders, weights, chosen.rank, places / "start")


def _best(
    found: list[Pinned], chosen: Settings, rows: TaskRows, labels: list[str], places: Path, progress: Any
) -> dict[str, Any]:
    """Every relative and the mean of the nearest two, tried beside the base."""
    from merges.training.starts import choose, combine, try_starts

    folders = {item.name: fetch(item, places / f"candidate-{number}") for number, item in enumerate(found)}
    sources = {item.name: _sources([item], [1.0]) for item in found}
    if len(found) > 1 and chosen.method == "lora":
        two = {item.name: folders[item.name] for item in found[:2]}
        name = f"mean of {found[0].name} and {found[1].name}"
        try:
            folders[name] = combine(two, [0.5, 0.5], chosen.rank, places / "mean")
            sources[name] = _sources(found[:2], [0.5, 0.5])
        except RecipeError:
            folders.pop(name, None)  # relatives on other modules have no mean; each is still tried alone
    trials = try_starts(
        places / "base",
        folders,
        rows.examples("train"),
        rows.examples("validation"),
        labels,
        chosen,
        progress,
        threads=site.TORCH_THREADS,
    )
    best, why = choose(trials)
    return _decision(best.name, why, sources.get(best.name, []), [asdict(trial) for trial in trials])


def _combined(
    asked: str,
    found: list[Pinned],
    row: Teaching,
    chosen: Settings,
    rows: TaskRows,
    labels: list[str],
    places: Path,
    progress: Any,
) -> dict[str, Any]:
    """The uniform mean of the nearest relatives, or LoraHub's weights for them, without asking whether it helps."""
    from merges.training.starts import search_combination

    found = found[:MOST_COMBINED]
    if len(found) < 2 or chosen.method != "lora":
        raise JobFailed("A merge to begin from needs at least two public LoRA specialists of this base. Choose auto.")
    if asked == "merge":
        return _decision(COMBINED[asked], "Asked for.", _sources(found, [1 / len(found)] * len(found)))
    folders = {item.name: fetch(item, places / f"candidate-{number}") for number, item in enumerate(found)}
    try:
        weights, trial = search_combination(
            places / "base", folders, rows.examples("train"), rows.examples("validation"), labels, chosen, places,
            progress, LORAHUB_TRIES, threads=site.TORCH_THREADS,
        )  # fmt: skip
    except RecipeError as error:
        raise JobFailed(f"These specialists cannot be combined: {error}") from error
    why = f"Asked for; the weights found got {trial.right} of {trial.n} right before training."
    return _decision(COMBINED[asked], why, _sources(found, weights), [asdict(trial)])


def _pinned(name: str, sha: str | None, actor: Actor) -> Pinned:
    try:
        return pin(name, actor, kinds=(Kind.ADAPTER,), revision=sha)
    except BadRequest as error:
        raise JobFailed(f"The specialist to begin from is no longer there for you: {error}") from error


def _sources(items: list[Pinned], weights: list[float]) -> list[dict[str, Any]]:
    pairs = zip(items, weights, strict=True)
    return [{"name": item.name, "sha": item.commit.sha, "weight": round(weight, 4)} for item, weight in pairs]


def _decision(
    chosen: str, why: str, sources: list[dict[str, Any]] | None = None, tried: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {"chosen": chosen, "why": why, "sources": sources or [], "tried": tried or []}
