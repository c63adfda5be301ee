"""Tensor by tensor, update by update: what was added, removed, renamed, reshaped, cast, changed or left as it was.

Which things are put beside each other depends on the two sides: two checkpoints by tensor name, two adapters by module
(their effect, not their factors), a base and an adapter by the base's weights, an adapter and a full checkpoint by the
weights the adapter would make.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np

from adapters.diffs import pairs, rows, updates, views
from adapters.diffs.changes import Status, TensorChange
from adapters.diffs.sides import OpenSide, Side, sides
from adapters.diffs.views import Entry, View
from adapters.formats.modules import endings
from adapters.formats.values import NUMPY, Array

VERSION = 2
"""Raise it when numbers change their meaning: kept comparisons are then made again."""
Known = Mapping[tuple[str, str], dict[str, Any]]
Learn = Callable[[str, str, dict[str, Any]], None]
Progress = Callable[[int, int, str], None]


def compare(
    left: Side,
    right: Side,
    *,
    other: Side | None = None,
    known: Known | None = None,
    learn: Learn | None = None,
    progress: Progress | None = None,
) -> list[TensorChange]:
    """All changes between two sides, `left` the older: those of the right side in its order, then what was removed.

    A pair with equal keys is `unchanged` and its values are never decoded. `known` holds numbers of pairs of keys
    measured before; `learn(old key, new key, numbers)` hears of new ones. `progress(done, total, name)` may raise to
    stop. `other` is a second parent of the right side, so that a mean of both can be told.
    Raises FormatError if a file breaks a rule of its format.
    """
    with ExitStack() as files:
        old, new = _views(left, right, files)
        partners = _partners(old, new)
        work = _Work(left.config is None and right.config is not None and right.base is None, known or {}, learn,
                     OpenSide(other, files) if other else None)  # fmt: skip
        total = sum(prod(entry.shape) for entry in new.values())
        done, found = 0, []
        for name, entry in new.items():
            if progress:
                progress(done, total, name)
            found.append(_one(work, old.get(partners.get(name, "")), entry))
            done += prod(entry.shape)
        used = set(partners.values())
        return found + [_alone(entry, "removed") for name, entry in old.items() if name not in used]


@dataclass(frozen=True)
class _Work:
    """What every step of one comparison needs. `on_base`: the right side is an adapter on the left one."""

    on_base: bool
    known: Known
    learn: Learn | None
    other: OpenSide | None = None


def _views(left: Side, right: Side, files: ExitStack) -> tuple[View, View]:
    old, new = OpenSide(left, files), OpenSide(right, files)
    if left.config and right.config:
        return views.of_adapter(old), views.of_adapter(new)
    if right.config:
        base = OpenSide(right.base, files) if right.base else old
        return views.tensors(old), views.applied(new, base)
    if left.config:
        base = OpenSide(left.base, files) if left.base else new
        return views.applied(old, base), views.tensors(new)
    return views.tensors(old), views.tensors(new)


def _partners(old: View, new: View) -> dict[str, str]:
    """New name → old name: the same name, else the same bytes, else the same ending and shape."""
    found = {name: name for name in new if name in old}
    left = [name for name in old if name not in found]
    right = [name for name in new if name not in found]
    if not left or not right:
        return found
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in left:
        if key := old[name].key:
            by_key[key].append(name)
    for name in right:
        if by_key and (same := by_key.get(new[name].key)):
            found[name] = same.pop(0)
    taken = set(found.values())
    by_ending: dict[tuple[str, tuple[int, ...]], list[str]] = defaultdict(list)
    for name in left:
        if name not in taken:
            for ending in endings(name, least=2):
                by_ending[ending, old[name].shape].append(name)
    for name in right:
        if name not in found:
            match = next(
                (ones for end in endings(name, least=2) if (ones := by_ending.get((end, new[name].shape)))), []
            )
            if len(match) == 1 and match[0] not in taken:
                found[name] = match[0]
                taken.add(match[0])
    return found


def _one(work: _Work, before: Entry | None, after: Entry) -> TensorChange:
    if before is None:
        return _alone(after, "added")
    moved = before.name != after.name
    fields: dict[str, Any] = {
        "name": after.name, "shape": after.shape, "dtype": after.dtype, "unit": after.unit,
        "old_name": before.name if moved else None,
        "old_dtype": before.dtype if before.dtype != after.dtype else None,
        "old_key": before.key, "new_key": after.key,
    }  # fmt: skip
    if before.unit != after.unit or before.shape != after.shape:
        return TensorChange(status="reshaped", old_shape=before.shape, **fields | _rows(before, after))
    if before.key and before.key == after.key:
        same: dict[str, Any] = {
            "relative_norm": 0.0,
            "max_abs": 0.0,
            "cosine_distance": 0.0,
            "share_changed": 0.0,
            "exact": True,
        }
        if not moved:
            return TensorChange(status="unchanged", **fields, **same)
        words = f"The same bytes as {before.name} had."
        return TensorChange(status="renamed", update="moved", evidence=words, **fields, **same)
    if not (before.readable and after.readable):
        return TensorChange(status="changed", **fields)
    return TensorChange(**fields | _with_parents(work, before, after, _numbers(work, before, after)))


def _numbers(work: _Work, before: Entry, after: Entry) -> dict[str, Any]:
    pair = (before.key, after.key)
    if all(pair) and pair in work.known:
        return dict(work.known[pair])
    if after.unit == "update":
        return _updated(work, before, after)
    if work.on_base and after.update and after.side:
        norm = sqrt(sum(_squared(block) for block in before.rows()))
        numbers = updates.on_base(after.side, after.update, before.rows, sides(before.shape), norm)
        return numbers | {"parts": _parts(after)}
    numbers = pairs.measure(before.rows, after.rows, sides(after.shape), before.dtype, after.dtype)
    if all(pair) and work.learn:
        work.learn(*pair, numbers)
    return numbers | ({"parts": _parts(after)} if not after.key else {})


def _with_parents(work: _Work, before: Entry, after: Entry, numbers: dict[str, Any]) -> dict[str, Any]:
    """The numbers, with the guess "mean" where the tensor lies between its two parents."""
    other, name = work.other, after.name
    if other is None or name not in other or numbers.get("update") not in ("dense", "low_rank"):
        return numbers
    if after.unit == "update" or other.info(name).shape != after.shape or other.info(name).dtype not in NUMPY:
        return numbers
    words = pairs.mixture(before.rows, after.rows, lambda: other.rows(name), numbers, after.dtype)
    return numbers | {"update": "mean", "evidence": words} if words else numbers


def _updated(work: _Work, before: Entry, after: Entry) -> dict[str, Any]:
    """Two updates of one module: their effect, and the stored factors behind it."""
    assert before.side
    assert after.side
    assert before.update
    assert after.update
    one, other = views.tensors(before.side, iter(before.stored)), views.tensors(after.side, iter(after.stored))
    inside = [_one(work, one[old], other[new]) for old, new in zip(before.stored, after.stored, strict=True)]
    parts = tuple({"name": change.name, "status": change.status, "shape": list(change.shape), "dtype": change.dtype,
                   "relative_norm": change.relative_norm, "old_key": change.old_key, "new_key": change.new_key,
                   "old_shape": list(change.old_shape or change.shape)} for change in inside)  # fmt: skip
    if all(change.status == "unchanged" for change in inside) and before.update.scaling == after.update.scaling:
        return {"status": "unchanged", "relative_norm": 0.0, "max_abs": 0.0, "cosine_distance": 0.0,
                "share_changed": 0.0, "exact": True, "parts": parts}  # fmt: skip
    return updates.compare_updates(before.side, before.update, after.side, after.update) | {"parts": parts}


def _alone(entry: Entry, status: Status) -> TensorChange:
    """Something only one side has. An update still says how large its effect is."""
    more: dict[str, Any] = {"parts": _parts(entry)} if entry.update else {}
    if entry.unit == "update" and entry.update and entry.side:
        found = updates.spectrum_of(*updates.factors(entry.side, entry.update))
        norm = "new_norm" if status == "added" else "old_norm"
        more |= {norm: pairs.number(found.energy**0.5), "change_norm": pairs.number(found.energy**0.5),
                 "spectrum": found.facts()}  # fmt: skip
    more["new_key" if status == "added" else "old_key"] = entry.key
    return TensorChange(entry.name, status, entry.shape, entry.dtype, unit=entry.unit, **more)


def _parts(entry: Entry) -> tuple[dict[str, Any], ...]:
    if entry.side is None:
        return ()
    return tuple(
        {"name": name, "dtype": entry.side.info(name).dtype, "shape": list(entry.side.info(name).shape),
         "new_key": entry.side.key(name)}
        for name in entry.stored
    )  # fmt: skip


def _rows(before: Entry, after: Entry) -> dict[str, Any]:
    """What became of the rows, where only their number differs."""
    if before.raw_rows is None or after.raw_rows is None or before.dtype != after.dtype:
        return {}
    if len(before.shape) < 2 or before.shape[1:] != after.shape[1:]:
        return {}
    found = rows.match(before.raw_rows(), after.raw_rows())
    words = rows.describe(found)
    if words is None:
        return {}
    exact = not found.added
    return {"update": "rows", "evidence": words, "exact": exact, "rows_changed": len(found.added) + len(found.removed)}


def _squared(block: Array) -> float:
    wide = block.astype(np.float64)
    wide[~np.isfinite(wide)] = 0.0
    return float(np.vdot(wide, wide))
