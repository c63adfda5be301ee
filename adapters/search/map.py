"""The points of the map that somebody may see, filtered as lists are."""

from __future__ import annotations

from adapters.models import Embedding, MapPoint
from adapters.search.filters import Filters
from adapters.search.listing import matching
from hub.accounts.actor import Actor

MOST = 2000


def points(actor: Actor, filters: Filters | None = None) -> list[MapPoint]:
    """Points of readable repos that were placed by nothing unreadable, those updated last first."""
    seen = Embedding.objects.visible_to(actor).values("pk")
    found = MapPoint.objects.filter(embedding__in=seen)
    if filters is not None and filters.conditions():
        found = found.filter(repo__in=matching(actor, filters).values("pk"))
    return list(found.select_related("repo__owner").order_by("-repo__updated_at", "pk")[:MOST])
