"""What changed between two revisions: files from git ids at once, weights by the job `adapters.compare`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from adapters.catalog import manifests
from adapters.catalog import weights as weights_of
from adapters.catalog.weights import Weights
from adapters.diffs import VERSION, TensorChange, compare, summary, warnings
from adapters.formats.errors import FormatError
from adapters.models import Comparison, TensorPair
from hub.accounts.actor import NOBODY, Actor
from hub.jobs.models import Job, State
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos import lines, trees
from hub.repos.models import Commit, Repo

MAX_TEXT = 200_000
LEARNED = 64
"""So many new pairs are written down at a time: a cancelled comparison loses no more."""


@dataclass(frozen=True)
class FileChange:
    """One path on both sides; `status` is added, removed, changed or unchanged.

    All changes of a comparison share one budget of `work` for their texts.
    """

    path: str
    status: str
    left: trees.File | None
    right: trees.File | None
    work: lines.Work = field(default_factory=lines.Work, compare=False, repr=False)

    @cached_property
    def text(self) -> list[str]:
        """A unified diff of small text files; empty for others. One sentence if it would take too much work."""
        sides = [side for side in (self.left, self.right) if side]
        if self.status == "unchanged" or any(side.blob or side.size > MAX_TEXT for side in sides):
            return []
        old, new = (side.data if side else b"" for side in (self.left, self.right))
        try:
            return lines.hunks(old, new, self.work, errors="replace")
        except lines.TooLong:
            return [f"The two differ, {lines.TOO_LONG}."]


def compare_files(left_repo: Repo, left: Commit, right_repo: Repo, right: Commit) -> list[FileChange]:
    """Every path of either revision, changed ones first."""
    old, new = trees.list_files(left_repo, left), trees.list_files(right_repo, right)
    work = lines.Work()
    changes = [FileChange(path, _status(old.get(path), new.get(path)), old.get(path), new.get(path), work)
               for path in sorted(old.keys() | new.keys())]  # fmt: skip
    return sorted(changes, key=lambda change: (change.status == "unchanged", change.path))


def _status(old: trees.File | None, new: trees.File | None) -> str:
    if old is None or new is None:
        return "added" if old is None else "removed"
    return "unchanged" if old.sha == new.sha else "changed"


@dataclass(frozen=True)
class Pair:
    """Two weights to be compared, `left` the older or the base. `base` is what an adapter is applied to, if needed.

    `other` is the second parent where `right` is a merge and `left` its first.
    """

    left: Weights
    right: Weights
    base: Weights | None = None
    other: Weights | None = None

    @property
    def fingerprints(self) -> tuple[str, str]:
        """What the comparison is kept under. A base that is one of the two sides needs no mention."""
        left, right = self.left.fingerprint, self.right.fingerprint
        more = [weights.fingerprint for weights in (self.base, self.other) if weights]
        return left, weights_of.joined(right, *more) if more else right

    @property
    def same(self) -> bool:
        """Equal bytes under an equal configuration."""
        return self.left.fingerprint == self.right.fingerprint

    @property
    def about(self) -> Repo:
        """The repo whose readers may know of the job: a private one if there is one."""
        return self.left.repo if self.left.repo.private else self.right.repo


@dataclass(frozen=True)
class Compared:
    """A pair with its comparison if there is one, else the job that makes it (None: nobody asked yet)."""

    pair: Pair
    comparison: Comparison | None
    job: Job | None


def pairs(actor: Actor, left_repo: Repo, left: Commit, right_repo: Repo, right: Commit) -> list[Pair]:
    """The weights of folders of the same name that differ; one that only one revision has is compared with nothing.

    Two revisions with one folder of weights each are compared whatever its name. A base and an adapter are put in this
    order, whichever way they were asked for.
    """
    old, new = weights_of.weights(left_repo, left), weights_of.weights(right_repo, right)
    if len(old) == len(new) == 1:
        found = [_paired(next(iter(old.values())), next(iter(new.values())), actor)]
    else:
        found = [
            _paired(weights_of.at(left_repo, left, folder), weights_of.at(right_repo, right, folder), actor)
            for folder in sorted(old.keys() | new.keys())
        ]
    if left_repo == right_repo and len(right.parents) == 2 and left.sha in right.parents:
        second = Commit.objects.filter(repo=right_repo, sha__in=right.parents).exclude(sha=left.sha).first()
        others = weights_of.weights(right_repo, second) if second else {}
        found = [replace(pair, other=others.get(pair.right.folder)) for pair in found]
    return [pair for pair in found if not pair.same]


def _paired(one: Weights, other: Weights, actor: Actor) -> Pair:
    one, other = _alike(one, other), _alike(other, one)
    if bool(one.config) == bool(other.config):
        return Pair(one, other)
    adapter, checkpoint = (one, other) if one.config else (other, one)
    named = weights_of.base_of(adapter, actor)
    if named is None or named.repo.pk == checkpoint.repo.pk:
        return Pair(checkpoint, adapter)
    return Pair(one, other, named)


def _alike(one: Weights, other: Weights) -> Weights:
    """Nothing is an adapter without tensors where the other side is an adapter."""
    return one if one.files else replace(one, config=other.config)


def compared(actor: Actor, pair: Pair, *, ask: bool = True) -> Compared:
    """The comparison, or the job that makes it: found for everybody, queued for known people if they `ask`."""
    left, right = pair.fingerprints
    comparison = Comparison.objects.filter(left=left, right=right).first()
    if comparison:
        return Compared(pair, comparison, None)
    if not ask or not actor.is_known:
        return Compared(pair, None, Job.objects.filter(key=_key(pair)).first())
    return Compared(pair, None, queue(pair, actor))


def queue(pair: Pair, actor: Actor = NOBODY) -> Job:
    """The job that compares a pair; the same pair once."""
    extra = {"base": pair.base.place if pair.base else None, "other": pair.other.place if pair.other else None}
    return enqueue(
        "adapters.compare",
        title=f"Compare weights of {pair.about.full_name}",
        arguments={"left": pair.left.place, "right": pair.right.place, **extra},
        owner=actor.account,
        repo=pair.about,
        key=_key(pair),
    )


def again(actor: Actor, pair: Pair) -> Job:
    """Compare once more what failed or was cancelled."""
    Job.objects.filter(key=_key(pair), state__in=(State.FAILED, State.CANCELLED)).update(key=None)
    return queue(pair, actor)


def _key(pair: Pair) -> str:
    left, right = pair.fingerprints
    return f"compare:{pair.about.pk}:{left}:{right}"


def run(running: Running) -> dict[str, Any]:
    """The job: compare two weights, keep the result by their fingerprints, and pairs of tensors as they come."""
    places = running.arguments
    left, right = (weights_of.find(places[side]) for side in ("left", "right"))
    base, other = (weights_of.find(places[name]) if places.get(name) else None for name in ("base", "other"))
    if left is None or right is None:
        raise JobFailed("One of the two revisions is not there any more.")
    pair = Pair(_alike(left, right), _alike(right, left), base, other)
    changes = _compare(pair, running)
    with running.adopt():
        old, new = pair.fingerprints
        Comparison.objects.update_or_create(
            left=old, right=new,
            defaults={"changes": [packed(change) for change in changes], "summary": summary(changes)[:500],
                      "warnings": warnings(changes)},
        )  # fmt: skip
    return {"tensors": len(changes)}


def _compare(pair: Pair, running: Running) -> list[TensorChange]:
    for part in filter(None, (pair.left, pair.right, pair.base, pair.other)):
        manifests.ensure(part.blobs, running, lambda done, total: running.progress(done, total, "Reading tensors"))
    learned: list[TensorPair] = []

    def learn(old: str, new: str, numbers: dict[str, Any]) -> None:
        learned.append(TensorPair(old=old, new=new, version=VERSION, numbers=numbers))
        if len(learned) >= LEARNED:
            _keep(learned)

    try:
        old = weights_of.opened(pair.left, pair.base if pair.left.config else None)
        new = weights_of.opened(pair.right, pair.base if pair.right.config else None)
        other = weights_of.opened(pair.other) if pair.other else None
        return compare(old, new, other=other, known=_Known(old.keys.values(), new.keys.values()), learn=learn,
                       progress=running.progress)  # fmt: skip
    except (FormatError, ValueError) as error:
        raise JobFailed(str(error)) from error
    finally:
        _keep(learned)


def _keep(learned: list[TensorPair]) -> None:
    TensorPair.objects.bulk_create(learned, ignore_conflicts=True)
    learned.clear()


class _Known(dict[tuple[str, str], dict[str, Any]]):
    """Pairs measured before, among the tensors of two sides."""

    def __init__(self, old: Any, new: Any) -> None:
        rows = TensorPair.objects.filter(old__in=set(old), new__in=set(new), version=VERSION)
        super().__init__({(row.old, row.new): row.numbers for row in rows.iterator()})


def packed(change: TensorChange) -> dict[str, Any]:
    """A change as kept: what has its default value is left out."""
    row: dict[str, Any] = {}
    for item in fields(change):
        value = getattr(change, item.name)
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if value != default or (item.default is MISSING and item.default_factory is MISSING):
            row[item.name] = list(value) if isinstance(value, tuple) else value
    return row


def unpacked(row: dict[str, Any]) -> dict[str, Any]:
    """A kept change with every field."""
    whole: dict[str, Any] = {}
    for item in fields(TensorChange):
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        whole[item.name] = row.get(item.name, None if default is MISSING else default)
    return whole


def every(actor: Actor, found: list[Pair], *, ask: bool = True) -> Iterator[Compared]:
    """`compared` of each."""
    return (compared(actor, pair, ask=ask) for pair in found)
