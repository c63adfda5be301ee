"""Changes laid out as layers × modules: one cell for all tensors of one module in one layer.

The layer is the first number in a dotted name; the words after it (without `weight` and `bias`, further numbers as `*`)
are the module. What has no layer number stands in rows of its own above and below, by its first telling word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

Row = dict[str, Any]
_PARTS = ("weight", "bias", "base_layer", "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "ia3_l",
          "lora_magnitude_vector", "modules_to_save")  # fmt: skip
_MOVED = ("changed", "cast", "reshaped")
MOST_COLUMNS = 24
MOST_ROWS = 256
OTHERS = "others"


@dataclass
class Cell:
    """All tensors of one module in one layer: how many, in which states, and |new − old| / |old| over them together."""

    layer: str
    module: str
    states: Counter[str] = field(default_factory=Counter)
    change: float = 0.0
    old: float = 0.0
    names: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take in one tensor."""
        self.states[row["status"]] += 1
        self.names.append(row["name"])
        self.change += (row.get("change_norm") or 0.0) ** 2 if row["status"] not in ("added", "removed") else 0.0
        self.old += (row.get("old_norm") or 0.0) ** 2

    @property
    def state(self) -> str:
        """One word for the cell: added, removed, changed, equivalent or unchanged."""
        if self.states.keys() == {"added"}:
            return "added"
        if self.states.keys() == {"removed"}:
            return "removed"
        if any(self.states[state] for state in (*_MOVED, "added", "removed")):
            return "changed"
        return "equivalent" if self.states["equivalent"] else "unchanged"

    @property
    def value(self) -> float | None:
        """The relative norm of the cell's change; None where there is nothing to divide by."""
        return sqrt(self.change / self.old) if self.old > 0 else None


@dataclass(frozen=True)
class Grid:
    """Row and column titles in order, and the cells by (row, column)."""

    layers: tuple[str, ...]
    modules: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    short: dict[str, str]

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest relative norm among changed cells."""
        values = [value for cell in self.cells.values() if cell.state == "changed" and (value := cell.value)]
        return (min(values), max(values)) if values else None

    @property
    def profile(self) -> list[tuple[str, float]]:
        """(short module name, relative norm of its changes over all layers), the largest first."""
        sums: dict[str, list[float]] = {}
        for cell in self.cells.values():
            if cell.state == "changed":
                total = sums.setdefault(self.short[cell.module], [0.0, 0.0])
                total[0] += cell.change
                total[1] += cell.old
        found = [(name, sqrt(change / old)) for name, (change, old) in sums.items() if old > 0]
        return sorted(found, key=lambda pair: -pair[1])


def grid(rows: Sequence[Row]) -> Grid:
    """Lay out the rows of a comparison (as kept: see catalog). Never more than 24 columns and 256 rows."""
    places = [(place(row["name"]), row) for row in rows]
    columns = Counter(module for (_layer, module), _row in places)
    shown = {name for name, _ in columns.most_common(MOST_COLUMNS)}
    cells: dict[tuple[str, str], Cell] = {}
    layers: dict[str, None] = {}
    modules: dict[str, None] = {}
    for (layer, module), row in places:
        if module not in shown:
            module = OTHERS
        if layer not in layers and len(layers) >= MOST_ROWS:
            layer = OTHERS
        layers.setdefault(layer)
        modules.setdefault(module)
        cells.setdefault((layer, module), Cell(layer, module)).add(row)
    ordered = sorted(layers, key=lambda layer: (layer.isdecimal(), int(layer) if layer.isdecimal() else 0))
    return Grid(tuple(ordered), tuple(modules), cells, _shortened(list(modules)))


def place(name: str) -> tuple[str, str]:
    """(layer, module) of a tensor: `bert.encoder.layer.3.attention.self.query.weight` → ("3", "attention.self.query").

    Names without a number have the layer "" and are told apart by their own module words.
    """
    parts = [part for part in name.split(".") if part not in _PARTS]
    for position, part in enumerate(parts):
        if part.isdecimal():
            rest = ["*" if other.isdecimal() else other for other in parts[position + 1 :]]
            return part, ".".join(rest) or parts[position - 1 if position else 0]
    parts = [part for part in parts if part not in ("base_model", "model")] or parts
    return "", ".".join(parts[-2:]) if len(parts) > 1 else (parts[0] if parts else name)


def _shortened(modules: list[str]) -> dict[str, str]:
    """The shortest ending of each module's name that no other has: `query`, `output.dense`."""
    found = {}
    for module in modules:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            ending = ".".join(parts[-length:])
            if sum(_ends(other, ending) for other in modules) == 1:
                break
        found[module] = re.sub(r"_proj$", "", ending).replace("attention", "attn").replace("layernorm", "norm")
    return found


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith("." + ending)
