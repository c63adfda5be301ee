"""Leaderboards: the newest score of each subject on a task or suite, ranked with ties as ties.

A rank is one more than the number of entries whose whole 95 % interval lies above one's own. Only what the asker may
read is ranked, so that nothing private shows through a gap in the ranks.
"""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from django.db.models import Case, Count, F, FloatField, IntegerField, Max, Q, QuerySet, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce, Concat

from hub.accounts.actor import Actor
from hub.repos.models import Repo, Standing
from merges.models import Evaluation, Origin, Suite
from merges.work.subjects import BadRequest

POINTS = 400
COLUMNS = ("rank", "tied", "subject", "revision", "origin", "score", "low", "high", "standard_error", "n", "base",
           "trained_parameters", "share_of_base", "protocol", "evaluated_at")  # fmt: skip


@dataclass(frozen=True)
class BoardFilters:
    """What the address may ask for: a base, the largest share of it to be trained, who measured, which settings."""

    base: str = ""
    most_share: float | None = None
    origin: str = ""
    protocol: str = ""
    revision: str = ""


@dataclass
class Entry:
    """One line of a leaderboard. `rank` and `tied` are set by `rank`, names and sizes by the `Board` that shows it."""

    key: int
    subject_key: Any
    score: float
    low: float
    high: float
    standard_error: float | None
    sha: str = ""
    n: int | None = None
    origin: str = ""
    at: Any = None
    rank: int = 0
    tied: bool = False
    parts: list[float] = field(default_factory=list)
    subject: str = ""
    kind: str = "adapter"
    base: str = ""
    parameters: int | None = None
    share: float | None = None
    protocol: str = ""

    @property
    def url(self) -> str:
        return f"/{self.subject}"


class Board(Sequence[Entry]):
    """Ranked entries. All are ranked, few are shown: names and sizes are read for those that somebody looks at."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = rank(entries)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return _named(self._entries[place])
        return _named([self._entries[place]])[0]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self[:])

    @property
    def lowest(self) -> float:
        """The lowest end of an interval; 0 for an empty board."""
        return min((entry.low for entry in self._entries), default=0.0)

    def points(self) -> list[Entry]:
        """What a plot shows: the best entries whose number of parameters is known."""
        return [entry for entry in self[:POINTS] if entry.parameters]


def read_filters(asked: Any) -> BoardFilters:
    """Filters from an address. Raises BadRequest for a share that is no number from 0 to 1."""
    share = None
    if asked.get("most_share"):
        try:
            share = float(asked["most_share"])
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            raise BadRequest("most_share is a share of the base's parameters, from 0 to 1.")
    return BoardFilters(
        base=asked.get("base", ""), most_share=share, origin=asked.get("origin", ""),
        protocol=asked.get("protocol", ""), revision=asked.get("revision", ""),
    )  # fmt: skip


def task_board(actor: Actor, task: Repo, filters: BoardFilters) -> Board:
    """Every subject's newest score on a task at its newest judged commit (or `filters.revision`), best first."""
    sha = filters.revision or newest_sha(actor, task)
    rows = _rows(actor, filters).filter(task=task, task_sha=sha, settings_key=filters.protocol)
    # one row for each subject: what was measured here before what was claimed, then the newest
    rows = rows.order_by("subject_id", origin_order(), "-created_at").distinct("subject_id")
    return Board([_entry(row) for row in rows.values_list(*_RANKED)])


def newest_sha(actor: Actor, task: Repo) -> str:
    """The task's head if anything was judged on it, else the commit something was last judged on."""
    judged = Evaluation.objects.visible_to(actor).filter(task=task).exclude(score=None)
    if not task.head or judged.filter(task_sha=task.head).exists():
        return task.head
    return judged.order_by("-created_at").values_list("task_sha", flat=True).first() or task.head


def suite_board(actor: Actor, suite: Suite, filters: BoardFilters) -> Board:
    """Subjects judged on every task of a suite, by their mean score; its standard error is that of the mean."""
    entries = list(suite.entries.all())
    if not entries:
        return Board([])
    wanted = Q()
    place = {}
    for number, item in enumerate(entries):
        wanted |= Q(task=item.task_id, task_sha=item.task_sha, settings_key=item.settings_key)
        place[item.task_id, item.settings_key] = number
    rows = _rows(actor, filters).filter(wanted).order_by("subject_id", origin_order(), "-created_at")
    judged: dict[Any, dict[int, Entry]] = {}
    for values in rows.values_list(*_RANKED, *_MEASURED, "task_id", "settings_key"):
        found = _entry(values[:-2])
        # the newest revision of a subject sets which revision counts
        judged.setdefault((found.subject_key, found.sha), {}).setdefault(place[values[-2], values[-1]], found)
    complete: dict[Any, Entry] = {}
    for (subject, _sha), parts in judged.items():
        if len(parts) == len(entries):
            mean = _mean([parts[number] for number in range(len(entries))])
            if subject not in complete or complete[subject].at < mean.at:
                complete[subject] = mean
    return Board(list(complete.values()))


_RANKED = ("pk", "subject_id", "score", "low", "high", "standard_error")
_MEASURED = ("subject_sha", "n", "origin", "created_at")
_NAMED = ("subject_name", "subject__kind", "base_name", "parameters", "share", "protocol")


def _rows(actor: Actor, filters: BoardFilters) -> QuerySet[Evaluation]:
    rows = Evaluation.objects.visible_to(actor).exclude(score=None).filter(subject__standing=Standing.GOOD)
    if filters.base:
        rows = rows.filter(base__in=Repo.objects.visible_to(actor).with_id(filters.base))
    if filters.origin:
        rows = rows.filter(origin=filters.origin)
    if filters.most_share is not None:
        rows = rows.annotate(share=_share()).filter(share__lte=filters.most_share)
    return rows


def _named(entries: list[Entry]) -> list[Entry]:
    """The same entries with all that a line shows, in one query."""
    missing = {entry.key: entry for entry in entries if not entry.subject}
    if not missing:
        return entries
    rows = Evaluation.objects.filter(pk__in=missing).annotate(
        subject_name=Concat("subject__owner__name", Value("/"), "subject__name"),
        base_name=Case(
            When(base__private=False, then=Concat("base__owner__name", Value("/"), "base__name")), default=Value("")
        ),
        parameters=Cast(Coalesce(_fact("trained_parameters"), _fact("base_parameters")), FloatField()),
        share=_share(),
    )  # fmt: skip
    for key, *values in rows.values_list("pk", *_NAMED, *_MEASURED):
        entry, (subject, kind, base, parameters, share, protocol, *measured) = missing[key], values
        entry.subject, entry.kind, entry.base, entry.share, entry.protocol = subject, kind, base, share, protocol
        entry.parameters = int(parameters) if parameters is not None else None
        if entry.at is None:
            entry.sha, entry.n, entry.origin, entry.at = measured
    return entries


def _share() -> Cast:
    return Cast(_fact("share_of_base"), FloatField())


def _fact(name: str) -> KeyTextTransform:
    return KeyTextTransform(name, "subject__facts")


def origin_order() -> Case:
    """What was measured here before what others measured, before what is claimed."""
    ranks = {Origin.VERIFIED: 0, Origin.COMMUNITY: 1, Origin.CLAIMED: 2}
    whens = [When(origin=origin, then=Value(number)) for origin, number in ranks.items()]
    return Case(*whens, output_field=IntegerField())


def _entry(values: Sequence[Any]) -> Entry:
    key, subject_key, score, low, high, error, *measured = values
    if low is None or high is None:
        reach = 1.959964 * (error or 0.0)
        low, high = score - reach, score + reach
    return Entry(key, subject_key, score, low, high, error, *measured)


def _mean(parts: list[Entry]) -> Entry:
    first, k = parts[0], len(parts)
    error = math.sqrt(sum((part.standard_error or 0.0) ** 2 for part in parts)) / k
    score = sum(part.score for part in parts) / k
    return Entry(
        first.key, first.subject_key, score, score - 1.959964 * error, score + 1.959964 * error, error, first.sha,
        sum(part.n or 0 for part in parts), max((part.origin for part in parts), key=list(Origin.values).index),
        max(part.at for part in parts), parts=[part.score for part in parts],
    )  # fmt: skip


def rank(entries: list[Entry]) -> list[Entry]:
    """Order by score and give ranks: 1 + how many entries lie wholly above; equal ranks are ties."""
    entries.sort(key=lambda entry: (-entry.score, str(entry.subject_key)))
    lows = sorted(entry.low for entry in entries)
    for entry in entries:
        entry.rank = 1 + len(lows) - bisect_right(lows, entry.high)
    counts = Counter(entry.rank for entry in entries)
    for entry in entries:
        entry.tied = counts[entry.rank] > 1
    return entries


def history(actor: Actor, subject: Repo, task: Repo) -> list[Evaluation]:
    """A subject's scores on a task over its revisions, the oldest first: one for each revision."""
    rows = Evaluation.objects.visible_to(actor).filter(subject=subject, task=task, settings_key="", seed=0)
    seen: dict[tuple[str, str], Evaluation] = {}
    for row in rows.exclude(score=None).select_related("job").order_by("created_at")[:500]:
        seen[row.subject_sha, row.origin] = row
    return list(seen.values())


def as_csv(entries: Iterable[Entry]) -> str:
    """The whole board as CSV; texts that a spreadsheet would run as a formula are quoted with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow([
            entry.rank, "yes" if entry.tied else "no", _plain(entry.subject), entry.sha, entry.origin, entry.score,
            entry.low, entry.high, entry.standard_error, entry.n, _plain(entry.base), entry.parameters, entry.share,
            _plain(entry.protocol), entry.at.isoformat(),
        ])  # fmt: skip
    return out.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text[:1] in "=+-@\t" and text else text


def judged_tasks(actor: Actor) -> list[dict[str, Any]]:
    """Tasks with at least one score, the most judged first, with how many subjects and the best score."""
    rows = (
        Evaluation.objects.visible_to(actor)
        .exclude(score=None)
        .order_by()
        .values("task")
        .annotate(subjects=Count("subject", distinct=True), best=Max("score", filter=Q(origin=Origin.VERIFIED)),
                  newest=Max("created_at"))
        .order_by(F("subjects").desc(), "task")[:200]
    )  # fmt: skip
    tasks = {
        task.pk: task for task in Repo.objects.filter(pk__in=[row["task"] for row in rows]).select_related("owner")
    }
    return [{**row, "task": tasks[row["task"]]} for row in rows if row["task"] in tasks]
