"""Evaluations beside each other on the same items: against the base, the parents, and the revision before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache

from django.db.models import Q

from adapters.models import Lineage
from hub.store import objects
from hub.store.models import Blob
from merges.evaluation import items as item_files
from merges.evaluation.paired import Pairing, pair
from merges.models import Evaluation, Origin, Paired

MOST = 50


def pair_with_relatives(row: Evaluation) -> None:
    """Write pairings of a fresh evaluation with its base, parents and other revisions, and of its children with it."""
    if row.items_id is None:
        return
    same = Evaluation.objects.filter(
        task=row.task, task_sha=row.task_sha, split=row.split, n=row.n, origin=Origin.VERIFIED
    ).exclude(Q(items=None) | Q(pk=row.pk))
    parents = Lineage.objects.filter(child=row.subject, child_sha=row.subject_sha).values("parent")
    children = Lineage.objects.filter(parent=row.subject).values("child")
    for other in same.filter(Q(subject__in=parents) | Q(subject=row.subject))[:MOST]:
        write(row, other)
    for other in same.filter(subject__in=children)[:MOST]:
        write(other, row)


def write(row: Evaluation, other: Evaluation) -> Paired | None:
    """One pairing, computed from the kept items; None where the items are not the same rows."""
    found = compare(row, other)
    if found is None:
        return None
    return Paired.objects.update_or_create(evaluation=row, other=other, defaults=asdict(found))[0]


def compare(row: Evaluation, other: Evaluation) -> Pairing | None:
    """Paired statistics of two evaluations of one task at one commit."""
    left, right = right_items(row), right_items(other)
    return pair(list(left), list(right)) if left and len(left) == len(right) else None


def right_items(row: Evaluation) -> tuple[bool, ...]:
    """Which items an evaluation got right, in the order of the split."""
    return _right(row.items_id) if row.items_id else ()


@lru_cache(maxsize=256)
def _right(sha256: str) -> tuple[bool, ...]:
    return tuple(bool(item["right"]) for item in item_files.read(read_items(sha256)))


def read_items(sha256: str) -> bytes:
    """The bytes of an items file. Raises StoreError."""
    return b"".join(objects.stream(Blob.objects.get(pk=sha256).key))


def shown(rows: Iterable[Paired]) -> list[Paired]:
    """Pairings in the order people read them: the clearest first."""
    return sorted(rows, key=lambda row: (row.p, -abs(row.difference)))
