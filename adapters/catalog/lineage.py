"""Where a repo comes from and what was made from it, as far as somebody may know."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.models import Lineage
from hub.accounts.actor import Actor
from hub.repos.models import Repo

MOST_CHILDREN = 500


@dataclass(frozen=True)
class Relative:
    """A repo made from, or used for, this one. Without a `repo` it is one that the asker may not read."""

    relation: str
    repo: Repo | None
    sha: str
    weight: float | None


def parents(actor: Actor, repo: Repo, sha: str) -> list[Relative]:
    """What a commit was made from; what is private to others is there without its name."""
    rows = list(Lineage.objects.filter(child=repo, child_sha=sha).order_by("relation", "-weight", "pk"))
    readable = {
        found.pk: found
        for found in Repo.objects.visible_to(actor)
        .filter(pk__in=[row.parent_id for row in rows])
        .select_related("owner")
    }
    return [
        Relative(row.relation, found, row.parent_sha if found else "", row.weight)
        for row in rows
        for found in [readable.get(row.parent_id)]
    ]


def children(actor: Actor, repo: Repo) -> list[Relative]:
    """What was made from a repo at any commit and is the head of a repo that the actor may read."""
    rows = (
        Lineage.objects.filter(parent=repo, child__in=Repo.objects.visible_to(actor))
        .select_related("child__owner")
        .order_by("-child__updated_at", "pk")[:MOST_CHILDREN]
    )
    return [
        Relative(row.relation, row.child, row.child_sha, row.weight) for row in rows if row.child_sha == row.child.head
    ]
