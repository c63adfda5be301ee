"""What else may be worth merging with adapters already chosen: near in effect or in texts, never a near-copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.models import Lineage, Relation
from adapters.search.filters import Filters
from adapters.search.relatives import COPY, relatives
from hub.accounts.actor import Actor
from hub.repos.models import Kind, Repo

ASKED = 3
"""Chosen adapters that are looked at; what is near all of many is near the first of them."""
LEAST = 0.03
WORDS = {"behaviour": "updates point the same way as {1}'s ({0})", "texts": "texts are like {1}'s ({0})"}


@dataclass(frozen=True)
class Partner:
    """An adapter of the same base, in what way and how near it is (cosine), and why it is named, in words."""

    repo: Repo
    kind: str
    score: float
    why: str

    @property
    def name(self) -> str:
        """owner/name"""
        return self.repo.full_name


def partners(actor: Actor, names: Sequence[str], most: int = 4) -> list[Partner]:
    """Adapters that go with those named, the nearest first; none that the actor may not read.

    A merge already holds what it was made of, so neither is named for the other. Updates that point a little the same
    way lose least when they are merged, so these come before like texts.
    """
    chosen = [repo for name in names[:ASKED] if (repo := _adapter(actor, name))]
    left_out = {near.repo.full_name for repo in chosen for near in relatives(actor, repo, "copies")} | set(names)
    merges = Lineage.objects.filter(relation=Relation.MERGE_OF)
    kin = {*merges.filter(parent__in=chosen).values_list("child", flat=True)}
    kin |= {*merges.filter(child__in=chosen).values_list("parent", flat=True)}
    found: dict[str, Partner] = {}
    for kind in WORDS:
        for repo in chosen:
            base = str(repo.facts.get("base") or "")
            filters = Filters(kind=(Kind.ADAPTER,), base=(base,) if base else ())
            for near in relatives(actor, repo, kind, filters, most=2 * most):
                name = near.repo.full_name
                if near.repo.pk in kin or name in left_out or name in found or not LEAST <= near.score < COPY:
                    continue
                found[name] = Partner(near.repo, kind, near.score, WORDS[kind].format(f"{near.score:.2f}", repo.name))
    return sorted(found.values(), key=lambda one: (one.kind != "behaviour", -one.score))[:most]


def _adapter(actor: Actor, name: str) -> Repo | None:
    if name.count("/") != 1:
        return None
    return Repo.objects.with_id(name).visible_to(actor).filter(kind=Kind.ADAPTER).select_related("owner").first()
