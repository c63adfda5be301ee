"""What a person typed and ticked, and the conditions it stands for. Ticks of one facet are alternatives."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q
from django.http import QueryDict

from adapters.formats.peft_config import LABELS

FACETS = ("kind", "owner", "base", "task", "method", "license", "language", "tag")
TAG_PREFIXES = {"base": "base_model:", "task": "dataset:", "license": "license:"}
METHODS = {name.lower(): name for name in (*LABELS.values(), "rsLoRA", "DoRA", "DoRA (rank-stabilised)")}
MAX_WORDS, MAX_VALUES = 10, 30


@dataclass(frozen=True)
class Filters:
    """One search. Empty means everything the person may read."""

    q: str = ""
    kind: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    license: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()

    @classmethod
    def from_query(cls, query: QueryDict) -> Filters:
        """The filters an address stands for; each facet may be repeated, and what cannot be meant is left out."""
        ticked = {
            name: tuple(value for value in query.getlist(name)[:MAX_VALUES] if value and "\x00" not in value)
            for name in FACETS
        }
        return cls(q=query.get("q", "").replace("\x00", "")[:200], **ticked)

    def selected(self, facet: str) -> tuple[str, ...]:
        """The ticks of one facet."""
        chosen: tuple[str, ...] = getattr(self, facet)
        return chosen

    def without(self, facet: str) -> Filters:
        """The same search with this facet's ticks taken away: what its counts are counted in."""
        return replace(self, **{facet: ()})  # type: ignore[arg-type]

    def conditions(self) -> list[Q]:
        """One condition for each word and each facet that has a tick."""
        return _words(self.q) + [_facet(name, self.selected(name)) for name in FACETS if self.selected(name)]

    def as_query(self) -> list[tuple[str, str]]:
        """The (name, value) pairs of an address for this search."""
        pairs: list[tuple[str, Any]] = [("q", self.q)] if self.q else []
        return pairs + [(field.name, value) for field in fields(self)[1:] for value in self.selected(field.name)]


def tag_of(facet: str, value: str) -> str:
    """The tag by which repos carry a value of a facet."""
    return value.lower() if facet == "method" else TAG_PREFIXES.get(facet, "") + value


def _words(text: str) -> list[Q]:
    return [
        Q(name__icontains=part)
        | Q(description__icontains=part)
        | Q(lead__icontains=part, gated="")
        | Q(owner__name__icontains=part)
        if "/" not in part
        else Q(owner__name__icontains=part.partition("/")[0]) & Q(name__icontains=part.partition("/")[2])
        for part in text.split()[:MAX_WORDS]
    ]


def _facet(name: str, values: tuple[str, ...]) -> Q:
    if name == "kind":
        return Q(kind__in=values)
    if name == "owner":
        return reduce(or_, (Q(owner__name__iexact=value) for value in values))
    return Q(tags__overlap=[tag_of(name, value)[:200] for value in values])
