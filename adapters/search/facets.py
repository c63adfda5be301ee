"""How many repos of a search each tick would leave. At most nine queries, however many repos there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import CharField, Count, F, Func

from adapters.search.filters import FACETS, METHODS, TAG_PREFIXES, Filters, tag_of
from adapters.search.languages import CODES
from adapters.search.listing import matching
from hub.accounts.actor import Actor
from hub.repos.models import Kind

SHOWN = 12
MAX_TAGS = 3000


@dataclass(frozen=True)
class FacetValue:
    """One tick: its value in the address, its label, how many repos it leaves, and whether it is set."""

    value: str
    label: str
    count: int
    selected: bool


def facets(actor: Actor, filters: Filters) -> dict[str, list[FacetValue]]:
    """The commonest values of each facet with their counts, ticked ones always among them.

    Counts of a facet leave out its own ticks, so that a second tick can be seen to add something.
    """
    common = _tag_counts(actor, filters) if any(not filters.selected(name) for name in _tag_facets()) else {}
    result = {}
    for name in FACETS:
        selected = filters.selected(name)
        if name == "kind":
            counts = _field_counts(actor, filters.without(name), "kind")
        elif name == "owner":
            counts = _field_counts(actor, filters.without(name), "owner__name")
        else:
            counts = _of_facet(name, _tag_counts(actor, filters.without(name)) if selected else common)
        result[name] = _values(name, counts, selected)
    return result


def _tag_facets() -> list[str]:
    return [name for name in FACETS if name not in ("kind", "owner")]


def _field_counts(actor: Actor, filters: Filters, field: str) -> dict[str, int]:
    rows = matching(actor, filters, known=True).values_list(field).annotate(n=Count("pk")).order_by("-n", field)
    return dict(rows[: SHOWN + 30])


def _tag_counts(actor: Actor, filters: Filters) -> dict[str, int]:
    """The commonest tags of a search with their counts."""
    unnested = Func(F("tags"), function="unnest", output_field=CharField())
    found = matching(actor, filters, known=True).annotate(carried=unnested)
    rows = found.values_list("carried").annotate(n=Count("pk"))
    return dict(rows.order_by("-n", "carried")[:MAX_TAGS])


def _of_facet(name: str, tags: dict[str, int]) -> dict[str, int]:
    """Value → count of the tags that belong to one facet."""
    prefix = TAG_PREFIXES.get(name)
    if prefix:
        found = {tag.removeprefix(prefix): n for tag, n in tags.items() if tag.startswith(prefix)}
        return {value: n for value, n in found.items() if ":" not in value} if name == "base" else found
    if name == "method":
        return {tag: n for tag, n in tags.items() if tag in METHODS}
    if name == "language":
        return {tag: n for tag, n in tags.items() if tag in CODES}
    return {tag: n for tag, n in tags.items() if ":" not in tag and tag not in METHODS and tag not in CODES}


def _values(name: str, counts: dict[str, int], selected: Iterable[str]) -> list[FacetValue]:
    """The first few by count, ticked ones first, so that a tick never vanishes from the list."""
    ticked = {tag_of("method", value) if name == "method" else value for value in selected}
    ordered = [value for value in counts if value in ticked] + [value for value in ticked if value not in counts]
    ordered += [value for value in counts if value not in ticked][: max(0, SHOWN - len(ordered))]
    return [FacetValue(value, label_of(name, value), counts.get(value, 0), value in ticked) for value in ordered]


def label_of(facet: str, value: str) -> str:
    """A facet's value in words."""
    if facet == "kind":
        return str(Kind(value).label) if value in Kind.values else value
    return METHODS.get(value, value) if facet == "method" else value
