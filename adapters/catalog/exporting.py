"""A router over the adapters somebody may read, as one file to use without the hub."""

from __future__ import annotations

from adapters.models import Embedding
from adapters.routing.artefact import pack
from adapters.search.filters import Filters
from adapters.search.listing import matching
from adapters.search.relatives import matrix
from hub.accounts.actor import Actor
from hub.repos.models import Kind

MOST = 2000


def export_router(actor: Actor, filters: Filters) -> bytes:
    """The file. Raises RoutingFault when no readable adapter of the filters is placed by texts."""
    rows = (
        Embedding.objects.visible_to(actor)
        .filter(method="texts", repo__kind=Kind.ADAPTER, repo__in=matching(actor, filters).values("pk"))
        .select_related("repo__owner")
        .order_by("repo__owner__name", "repo__name")[:MOST]
    )
    probes = [row.probe for row in rows]
    probe = max(set(probes), key=probes.count) if probes else ""
    entries = []
    for row in rows:
        vectors = matrix(row)
        if row.probe == probe and vectors is not None:
            about = {"name": row.repo.full_name, "revision": row.sha, "base": row.repo.facts.get("base"),
                     "labels": row.repo.facts.get("labels") or []}  # fmt: skip
            entries.append((about, vectors))
    return pack(entries, probe)
