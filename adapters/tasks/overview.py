"""A first look at a split: how many rows of each label, how long the texts are, and the first ten rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from adapters.tasks.reading import Row

FIRST_ROWS = 10
SHOWN_LETTERS = 500
# Upper ends of the length bins in letters; the last bin has no end.
BINS = (20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120)


def overview(rows: Sequence[Row], labels: Sequence[str] = ()) -> dict[str, Any]:
    """JSON-able facts of one split.

    `rows` count, `labels` {label: rows} in the card's order and then by frequency, `lengths` a histogram over letters
    [{from, to, rows}] (to is None in the last bin), `mean_length`, `longest`, `pairs` and `first_rows`.
    """
    counts = Counter(row.label for row in rows)
    ordered = {label: counts[label] for label in labels if label in counts}
    ordered |= {label: count for label, count in counts.most_common() if label not in ordered}
    lengths = [len(row.text) + len(row.text_pair or "") for row in rows]
    return {
        "rows": len(rows),
        "labels": ordered,
        "lengths": _histogram(lengths),
        "mean_length": round(sum(lengths) / len(lengths), 1) if lengths else 0.0,
        "longest": max(lengths, default=0),
        "pairs": sum(row.text_pair is not None for row in rows),
        "first_rows": [_shown(row) for row in rows[:FIRST_ROWS]],
    }


def _histogram(lengths: Sequence[int]) -> list[dict[str, int | None]]:
    starts = (0, *BINS)
    ends: tuple[int | None, ...] = (*BINS, None)
    counts = [0] * len(starts)
    for length in lengths:
        counts[sum(length >= end for end in BINS)] += 1
    return [{"from": start, "to": end, "rows": count} for start, end, count in zip(starts, ends, counts, strict=True)]


def _shown(row: Row) -> dict[str, Any]:
    shown: dict[str, Any] = {"row": row.number, "text": _cut(row.text), "label": row.label}
    if row.text_pair is not None:
        shown["text_pair"] = _cut(row.text_pair)
    return shown


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"
