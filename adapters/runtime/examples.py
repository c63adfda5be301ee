"""One labelled text, the unit that training and evaluation share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.runtime.errors import RuntimeFault


@dataclass(frozen=True, slots=True)
class Example:
    """A text (or a pair of texts) with the label a person gave it."""

    text: str
    label: str
    text_pair: str | None = None


def examples_of(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Examples from rows {text, text_pair?, label}; labels become strings. Raises RuntimeFault with the row number."""
    examples = []
    for number, row in enumerate(rows, start=1):
        text, label, pair = row.get("text"), row.get("label"), row.get("text_pair")
        if not isinstance(text, str) or label is None or label == "":
            raise RuntimeFault(f"Row {number} has no text or no label. Give every row a text and a label.")
        examples.append(Example(text, str(label), str(pair) if pair is not None else None))
    return examples
