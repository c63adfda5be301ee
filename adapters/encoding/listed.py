"""Ways as short lists of JSON, and back. Nothing of a list is believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from adapters.encoding.ways import Cast, Lora, Mean, New, Place, Rows, Same, Scale, Sparse, Way, refuse


def to_json(way: Way) -> list[Any]:
    """A way as a short list that begins with its name."""
    if isinstance(way, New):
        return ["new"]
    if isinstance(way, Same):
        return ["same", way.number, way.offset]
    if isinstance(way, Cast):
        return ["cast", _row(way.place)]
    if isinstance(way, Rows):
        return ["rows", way.number, way.offset, [list(run) for run in way.runs]]
    if isinstance(way, Mean):
        return ["mean", [[*_row(place), weight] for place, weight in way.parts]]
    if isinstance(way, Lora):
        places = [_row(place) for place in (way.base, way.left, way.right)]
        return ["lora", *places, way.rank, way.scaling, way.turned, way.rounding]
    if isinstance(way, Scale):
        return ["scale", _row(way.base), _row(way.vector), way.axis]
    return ["sparse", way.base.number, way.base.offset, way.number, way.positions, way.values, way.count]


def from_json(row: Any) -> Way:
    """The way a list describes. Raises FormatError; what it refers to is judged by its `check`."""
    reader = _READERS.get(row[0]) if isinstance(row, list) and row and isinstance(row[0], str) else None
    if reader is None:
        raise refuse("it names a way that is not known.")
    try:
        return reader(*row[1:])
    except (TypeError, ValueError) as error:
        raise refuse("a way is described wrongly.") from error


def _row(place: Place) -> list[Any]:
    return [place.number, place.offset, place.dtype]


def _whole(value: Any) -> int:
    if type(value) is not int or not -1 <= value < 1 << 62:
        raise ValueError(value)
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(value)
    return float(value)


def _place(row: Any) -> Place:
    number, offset, dtype = row
    if not isinstance(dtype, str):
        raise ValueError(dtype)
    return Place(_whole(number), _whole(offset), dtype)


_READERS: dict[str, Callable[..., Way]] = {
    "new": New,
    "same": lambda number, offset: Same(_whole(number), _whole(offset)),
    "cast": lambda row: Cast(_place(row)),
    "rows": lambda number, offset, runs: Rows(
        _whole(number), _whole(offset), tuple((_whole(count), _whole(first)) for count, first in runs)
    ),
    "mean": lambda rows: Mean(tuple((_place(row[:3]), _number(row[3])) for row in rows)),
    "lora": lambda base, left, right, rank, scaling, turned, rounding: Lora(
        _place(base), _place(left), _place(right), _whole(rank), _number(scaling), turned is True, str(rounding)
    ),
    "scale": lambda base, vector, axis: Scale(_place(base), _place(vector), _whole(axis)),
    "sparse": lambda number, offset, other, positions, values, count: Sparse(
        Same(_whole(number), _whole(offset)), _whole(other), _whole(positions), _whole(values), _whole(count)
    ),
}  # fmt: skip


def renumber(thing: Any, numbers: Mapping[int, int]) -> Any:
    """A way (or a part of one) with its inputs called by other numbers."""
    if isinstance(thing, tuple):
        return tuple(renumber(part, numbers) for part in thing)
    if not is_dataclass(thing) or isinstance(thing, type):
        return thing
    changed = {}
    for field in fields(thing):
        value = getattr(thing, field.name)
        changed[field.name] = numbers[value] if field.name == "number" else renumber(value, numbers)
    return replace(thing, **changed)
