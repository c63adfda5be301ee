"""The repos of a search, in an order."""

from __future__ import annotations

from django.db.models.functions import Lower

from adapters.search.filters import Filters
from hub.accounts.actor import Actor
from hub.repos.models import Repo, RepoQuerySet, Standing

SORTS = {"updated": "Last updated", "downloads": "Most downloads", "likes": "Most likes", "name": "Name"}
DEFAULT_SORT = "updated"


def matching(actor: Actor, filters: Filters, *, known: bool = False) -> RepoQuerySet:
    """The repos of a search that the actor may read, in no order; what was yanked or is empty yet shows only among its
    owner's.

    With `known` also gated ones they could ask to read, as browsing shows them; choosing inputs of work does not.
    """
    repos = Repo.objects.known_to(actor) if known else Repo.objects.visible_to(actor)
    found = repos.filter(*filters.conditions()).order_by()
    return found if filters.owner else found.filter(standing=Standing.GOOD).exclude(head="")


def listing(actor: Actor, filters: Filters, sort: str = DEFAULT_SORT, *, known: bool = False) -> RepoQuerySet:
    """The repos of a search that the actor may read (or, with `known`, ask to read), with their owners; an unknown
    order is the usual one."""
    found = matching(actor, filters, known=known).select_related("owner")
    if sort == "name":
        return found.order_by(Lower("name"), Lower("owner__name"), "pk")
    field = {"downloads": "-downloads", "likes": "-likes"}.get(sort, "-updated_at")
    return found.order_by(field, "pk")
