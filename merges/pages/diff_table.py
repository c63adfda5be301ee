"""The table of a page of changes: filters, orders, and the addresses that lead from one state of it to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.http import QueryDict

from adapters.diffs.grid import place

PAGE = 50
SORTS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "change": ("Relative change", lambda row: -(row["relative_norm"] or 0.0)),
    "size": ("Size of the change", lambda row: -(row["change_norm"] or 0.0)),
    "turn": ("Turned by (1 − cos)", lambda row: -(row["cosine_distance"] or 0.0)),
    "share": ("Share of values", lambda row: -(row["share_changed"] or 0.0)),
    "directions": ("Directions", lambda row: -(row["spectrum"].get("effective_rank") or 0.0)),
    "name": ("Name", lambda row: row["name"]),
}
KINDS = {
    "low_rank": "low rank", "dense": "dense", "sparse": "sparse", "scale": "scaled", "cast": "cast", "rows": "rows",
    "mean": "mean", "factors": "same effect", "moved": "renamed",
}  # fmt: skip
STATUSES = ("changed", "cast", "reshaped", "renamed", "equivalent", "added", "removed", "unchanged")
ALL = "all"


def linker(address: str, asked: QueryDict) -> Callable[..., str]:
    """Addresses of this page with some parts of its query replaced (None: left out); always to the table."""
    path, _, given = address.partition("?")

    def link(**changes: str | None) -> str:
        query = QueryDict(given, mutable=True)
        for name in asked:
            if name not in query:
                query.setlist(name, asked.getlist(name))
        query.pop("page", None)
        query.pop("tensor", None)
        for name, value in changes.items():
            query.pop(name, None)
            if value is not None:
                query[name] = value
        text = query.urlencode(safe="/@")
        return f"{path}{'?' if text else ''}{text}#{'tensor' if changes.get('tensor') else 'rows'}"

    return link


def filtered(rows: list[dict[str, Any]], asked: QueryDict) -> list[dict[str, Any]]:
    """The rows asked for, in the order asked for; unchanged ones last whatever the order.

    Who asks for nothing in particular sees what changed, if anything did.
    """
    words = asked.get("find", "").lower().split()
    statuses, kinds = set(asked.getlist("status")) & set(STATUSES), set(asked.getlist("kind")) & set(KINDS)
    layer, module = asked.get("layer"), asked.get("module")
    found = [
        row for row in rows
        if all(word in row["name"].lower() for word in words)
        and (not statuses or row["status"] in statuses)
        and (not kinds or row["update"] in kinds)
        and (module is None or place(row["name"]) == ("" if layer == "-" else layer, module))
    ]  # fmt: skip
    if only_changes(rows, asked):
        found = [row for row in found if row["status"] != "unchanged"]
    key = SORTS.get(asked.get("sort", ""), SORTS["change"])[1]
    return sorted(found, key=lambda row: (row["status"] == "unchanged", key(row)))


def only_changes(rows: list[dict[str, Any]], asked: QueryDict) -> bool:
    """Are the unchanged rows left out because nothing else was asked for?"""
    changed = sum(row["status"] != "unchanged" for row in rows)
    return 0 < changed < len(rows) and not any(asked.get(name) for name in ("status", "kind", "find", "module"))


def narrowed(rows: list[dict[str, Any]], asked: QueryDict) -> list[tuple[dict[str, str | None], str]]:
    """What the table is narrowed to, each with what the query must say instead to be without it."""
    found: list[tuple[dict[str, str | None], str]] = []
    if only_changes(rows, asked):
        found.append(({"status": ALL}, "changes only"))
    if asked.get("module"):
        layer = asked.get("layer", "-")
        found.append(
            (
                {"layer": None, "module": None},
                str(asked["module"])[:80] if layer == "-" else f"layer {layer[:8]}, {asked['module'][:80]}",
            )
        )
    if asked.get("find"):
        found.append(({"find": None}, f"“{asked['find'][:60]}”"))
    return found


def options(rows: list[dict[str, Any]], field: str, names: Any, chosen: list[str]) -> list[dict[str, Any]]:
    counts = Counter(row[field] for row in rows)
    return [
        {
            "value": name,
            "count": counts[name],
            "selected": name in chosen,
            "title": names[name] if isinstance(names, dict) else name,
        }
        for name in names
        if counts[name]
    ]
