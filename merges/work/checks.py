"""Each automatic check of a proposed base, adapter or task: one function, one verdict, its evidence."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.catalog import local
from adapters.catalog.inspecting import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from adapters.catalog.tasks import read_task
from adapters.embeddings.updates import COPY, likeness, read_update
from adapters.formats import licences
from adapters.formats.errors import FormatError
from adapters.formats.findings import Finding, Verdict
from adapters.tasks.reading import Row
from adapters.tasks.validation import normalised
from hub.accounts.actor import NOBODY
from hub.repos import trees
from hub.repos.models import Commit, GitObject, Kind, Repo
from merges.evaluation.metrics import standard_error
from merges.models import Evaluation, SuiteEntry
from merges.work import outside, pairing
from merges.work.evaluating import Wanted, has_test_split, row_for
from merges.work.judging import Bench, keep
from merges.work.proposed import Proposed, register_check
from merges.work.subjects import Pinned

MODELS = (Kind.ADAPTER, Kind.BASE)
EVERY = (Kind.ADAPTER, Kind.BASE, Kind.TASK)
VALID = frozenset({"complete", "complete_files", "valid_config", "valid_weights", "rank_agrees", "names_match",
                   "readable", "splits", "valid_card", "labels"})  # fmt: skip
CANDIDATES = 30
MOST_TASKS = 5


def valid(proposed: Proposed) -> Finding:
    """Everything the inspection calls a broken file, in one verdict."""
    broken = [finding for finding in proposed.findings if finding.name in VALID and finding.verdict == "fail"]
    details = {"from": [finding.name for finding in broken]}
    if broken:
        return Finding("valid", "fail", " ".join(finding.summary for finding in broken)[:1000], details)
    return Finding("valid", "pass", "Its files are complete and can be read.", details)


def safe(proposed: Proposed) -> Finding:
    """Nothing here runs code, and every number is one. The door refuses pickles; this looks at what it let in."""
    strange = [
        path
        for path in trees.flatten(proposed.repo, proposed.commit.tree)
        if path.endswith((".py", ".so", ".sh", ".bin", ".pt", ".pkl"))
    ]
    config = proposed.facts.get("unknown_keys") or []
    infinite = _infinite(proposed)
    if strange:
        return Finding("safe", "fail", f"It holds files that could run: {', '.join(strange[:5])}.", {"paths": strange})
    if infinite:
        return Finding("safe", "fail", infinite[0].summary, infinite[0].details)
    return Finding("safe", "pass", "It holds data only, and every weight is a finite number.", {"unknown_keys": config})


def fits_base(proposed: Proposed) -> Finding | None:
    """The base it names is here, and every tensor has a place in it."""
    found = [finding for finding in proposed.findings if finding.name == "fits_base"]
    if found:
        return None  # the inspection has said it, under the same name
    name = proposed.facts.get("base_model") or "none"
    if proposed.base is None:
        return Finding("fits_base", "warn", f"Its base ({name}) is not on this hub, so nobody can try it here.")
    return Finding("fits_base", "warn", f"Whether it fits {proposed.base.full_name} could not be measured.")


def licence(proposed: Proposed) -> Finding:
    """The licence on the card against those of its base and of the data it names."""
    sources = [
        licences.Source(repo.full_name, _licence_of(repo.card), repo.is_task)
        for repo in [*([proposed.base] if proposed.base else []), *proposed.tasks]
    ]
    verdict, sentences = licences.judge(_licence_of(proposed.card), sources)
    details = {"own": _licence_of(proposed.card), "of": {source.name: source.licence for source in sources}}
    summary = " ".join(sentences) or "Its licence agrees with those of its base and data."
    return Finding("licence", _verdict(verdict), summary[:1000], details)


def _licence_of(card: dict[str, Any]) -> str:
    value = card.get("license")
    return str(value[0] if isinstance(value, list) and value else value or "")


def _verdict(text: str) -> Verdict:
    return "fail" if text == "fail" else "warn" if text == "warn" else "pass"


def near_duplicate(proposed: Proposed) -> Finding | None:
    """Another public adapter with the same bytes, or whose update points the same way (cosine of ΔW)."""
    weights = trees.list_files(proposed.repo, proposed.commit).get(ADAPTER_WEIGHTS)
    if weights is None:
        return None
    public = Repo.objects.visible_to(NOBODY).filter(kind=Kind.ADAPTER).exclude(pk=proposed.repo.pk)
    twin = GitObject.objects.filter(repo__in=public, sha=weights.sha).select_related("repo__owner").first()
    if twin is not None:
        name = twin.repo.full_name
        return Finding("near_duplicate", "fail", f"Its weights are byte for byte those of {name}.", {"same": name})
    with tempfile.TemporaryDirectory(prefix="tessera-check-") as scratch:
        try:
            own = _update(proposed.repo, proposed.commit, Path(scratch) / "own")
        except FormatError:
            return None
        if not own.is_finite:
            sentence = "Its weights hold NaN or infinite values, so it cannot be compared with other adapters."
            return Finding("near_duplicate", "warn", sentence)
        near = _nearest(proposed, public, own, Path(scratch))
    if near and near[0][1] >= COPY:
        name, cosine = near[0]
        sentence = f"Its update is nearly that of {name} (cosine {cosine:.3f}). What does it add?"
        return Finding("near_duplicate", "warn", sentence, {"nearest": near[:5]})
    nearest = f" The nearest is {near[0][0]} (cosine {near[0][1]:.3f})." if near else ""
    return Finding(
        "near_duplicate", "pass", f"It is no copy of another public adapter.{nearest}", {"nearest": near[:5]}
    )


def _nearest(proposed: Proposed, public: Any, own: Any, scratch: Path) -> list[tuple[str, float]]:
    base = proposed.base.full_name if proposed.base else None
    near = []
    for other in public.filter(facts__base=base).exclude(head="").select_related("owner")[:CANDIDATES]:
        commit = Commit.objects.filter(repo=other, sha=other.head).first()
        try:
            theirs = _update(other, commit, scratch / str(other.pk)) if commit else None
            if theirs is not None and theirs.is_finite:
                near.append((other.full_name, round(float(likeness(own, theirs).cosine), 4)))
        except (FormatError, FileNotFoundError):
            continue
    return sorted(near, key=lambda pair: -pair[1])


def _update(repo: Repo, commit: Commit, folder: Path) -> Any:
    wanted = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
    local.materialise(repo, commit, folder, lambda path: path in wanted)
    return read_update(folder)


def overlap(proposed: Proposed) -> Finding | None:
    """Test rows (of the tasks it declares, and of every suite) that stand in the declared training data.

    More than one in a hundred of a declared task fails; the texts of another task asked something else: a warning.
    """
    if not proposed.tasks:
        return None
    train: dict[tuple[str, str], str] = {}
    tests: dict[str, set[tuple[str, str]]] = {}
    for task in proposed.tasks[:MOST_TASKS]:
        splits = _splits(task, task.head)
        train |= {normalised(row): task.full_name for row in splits.get("train", [])}
        tests[task.full_name] = {normalised(row) for row in splits.get("test", [])}
    entries = SuiteEntry.objects.filter(task__private=False).exclude(task__in=proposed.tasks)
    for entry in entries.select_related("task__owner").distinct("task_id").order_by("task_id")[:50]:
        splits = _splits(entry.task, entry.task_sha)
        tests.setdefault(entry.task.full_name, set()).update(normalised(row) for row in splits.get("test", []))
    declared = {task.full_name for task in proposed.tasks}
    shared = {name: len(rows & train.keys()) for name, rows in tests.items()}
    details = {"train_rows": len(train), "shared": {name: count for name, count in shared.items() if count}}
    worst = max(shared, key=lambda name: (name in declared and shared[name] > 0, shared[name]), default="")
    if worst and shared[worst]:
        rows = shared[worst]
        sentence = f"{rows:,} test rows of {worst} are among its declared training data: its scores there say little."
        grave = worst in declared and rows > 0.01 * len(tests[worst])
        return Finding("overlap", "fail" if grave else "warn", sentence, details)
    return Finding(
        "overlap", "pass", f"None of {len(train):,} training rows is a test row of a task or suite.", details
    )


def _splits(task: Repo, sha: str) -> Mapping[str, list[Row]]:
    commit = Commit.objects.filter(repo=task, sha=sha).first()
    return read_task(task, commit).splits if commit else {}


def claims(proposed: Proposed) -> Finding | None:
    """Scores on the card against the same measured here: reproduced when within two standard errors."""
    rows = outside.keep_claims(proposed.repo, proposed.commit, proposed.card, proposed.actor)
    if not rows:
        return None
    measured = {row.task_id: row for row in _judged(proposed, proposed.commit, [row.task for row in rows])}
    lines, bad = [], 0
    for claimed in rows:
        found = measured.get(claimed.task_id)
        value = (found.scores.get("values") or {}).get(claimed.metric) if found else None
        if found is None or value is None or claimed.score is None or not claimed.n:
            continue
        share = min(max(claimed.score, 0.0), 1.0)
        error = math.hypot(found.standard_error or 0.0, standard_error(share, claimed.n))
        off = abs(claimed.score - value) > 2 * error
        bad += off
        lines.append({
            "task": claimed.task.full_name, "metric": claimed.metric, "claimed": claimed.score, "measured": value,
            "standard_error": error, "reproduced": not off, "evaluation": found.pk,
        })  # fmt: skip
    if not lines:
        return Finding("claims", "warn", "The card claims scores, but none could be measured here.")
    if bad:
        first = next(line for line in lines if not line["reproduced"])
        sentence = (f"The card claims {first['claimed']:.3f} on {first['task']}; here it is {first['measured']:.3f} "
                    f"(± {first['standard_error']:.3f}).")  # fmt: skip
        return Finding("claims", "fail", sentence, {"scores": lines})
    return Finding(
        "claims", "pass", f"All {len(lines)} claimed scores were reproduced within error.", {"scores": lines}
    )


def no_regression(proposed: Proposed) -> Finding | None:
    """The proposed revision against the published one on its own tasks, on the same items."""
    before = proposed.published
    tasks = [task for task in proposed.tasks if _has_test(task)]
    if before is None or not tasks or proposed.base is None:
        return None
    if _infinite(proposed):
        return Finding("no_regression", "fail", "Its weights hold NaN or infinite values, so it was not evaluated.")
    new, old = _judged(proposed, proposed.commit, tasks), _judged(proposed, before, tasks)
    lines, worse = [], []
    for row in new:
        other = next((item for item in old if item.task_id == row.task_id), None)
        pair = pairing.write(row, other) if other and other.pk != row.pk else None
        if other is None:
            continue
        line = {"task": row.task.full_name, "before": other.score, "after": row.score, "evaluation": row.pk,
                "p": pair.p if pair else 1.0, "difference": pair.difference if pair else 0.0}  # fmt: skip
        lines.append(line)
        if pair and pair.losses > pair.wins and pair.p < 0.05:
            worse.append(line)
    if not lines:
        return None
    if worse:
        first = worse[0]
        sentence = (
            f"On {first['task']} it falls from {first['before']:.3f} to {first['after']:.3f} (p = {first['p']:.3f})."
        )
        return Finding("no_regression", "fail", sentence, {"tasks": lines})
    first = lines[0]
    sentence = (
        f"No task falls by more than chance explains ({first['task']}: {first['before']:.3f} → {first['after']:.3f})."
    )
    return Finding("no_regression", "pass", sentence, {"tasks": lines})


def _infinite(proposed: Proposed) -> list[Finding]:
    """What the inspection said of weights that are no numbers."""
    return [finding for finding in proposed.findings if finding.name == "finite" and finding.verdict == "fail"]


def _has_test(task: Repo) -> bool:
    commit = Commit.objects.filter(repo=task, sha=task.head).first()
    return commit is not None and has_test_split(task, commit)


def _judged(proposed: Proposed, commit: Commit, tasks: list[Repo]) -> list[Evaluation]:
    """Evaluations of one revision on tasks at their heads: known ones, or made now by this job."""
    base = proposed.base
    if base is None or not base.head:
        return []
    subject = Pinned(proposed.repo, commit)
    pinned_base = Pinned(base, Commit.objects.get(repo=base, sha=base.head))
    rows = []
    for task in {task.pk: task for task in tasks}.values():
        on = Pinned(task, Commit.objects.get(repo=task, sha=task.head))
        row = row_for(proposed.actor, Wanted(subject, pinned_base, on, 0, {}))
        rows.append(row)
    waiting = [row for row in rows if row.score is None]
    try:
        if waiting:
            with Bench(proposed.running.progress) as bench:
                for row in waiting:
                    keep(proposed.running, row, bench.judge(row))
    except BaseException:  # no row may wait for a score that nobody works on
        Evaluation.objects.filter(pk__in=[row.pk for row in waiting], score=None, job=None).delete()
        raise
    return [row for row in rows if row.score is not None]


register_check("valid", EVERY, valid)
register_check("safe", EVERY, safe)
register_check("fits_base", (Kind.ADAPTER,), fits_base)
register_check("licence", MODELS, licence)
register_check("near_duplicate", (Kind.ADAPTER,), near_duplicate)
register_check("overlap", (Kind.ADAPTER,), overlap)
register_check("claims", (Kind.ADAPTER,), claims)
register_check("no_regression", (Kind.ADAPTER,), no_regression)
