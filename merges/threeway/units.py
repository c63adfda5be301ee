"""The things that can be merged: single tensors, and LoRA updates as wholes; and which side changed each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from adapters.diffs import Side, rows
from adapters.diffs.sides import OpenSide
from adapters.diffs.updates import Update, updates_of
from adapters.formats.values import FLOATING
from merges.methods.declaration import Statistic, Statistics
from merges.methods.deltas import Array, Delta, Dense, LowRank, blocks, inner, norm
from merges.running.sidecars import Sidecars

State = Literal["same", "ours", "theirs", "agreed", "rows", "conflict"]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Unit:
    """One thing to merge: `members` are the tensors it is made of, `state` says who changed it.

    agreed: both made the same change; rows: one side added or removed rows and the other changed values, which can be
    done both; conflict: both changed it, `reason` says how: values, shape, removed.
    """

    name: str
    members: tuple[str, ...]
    state: State
    is_update: bool = False
    reason: str = ""


class ThreeWay:
    """Three open sides of the same weights and their units in a stable order.

    `sidecars` are the statistics published beside the weights of ours and theirs, by side.
    """

    def __init__(
        self, base: Side, ours: Side, theirs: Side, files: ExitStack, sidecars: Mapping[str, Sidecars] | None = None
    ) -> None:
        self.sidecars = sidecars or {}
        self.base, self.ours, self.theirs = (OpenSide(side, files) for side in (base, ours, theirs))
        self.sides = {"original": self.base, "ours": self.ours, "theirs": self.theirs}
        self.updates = {name: updates_of(side) for name, side in self.sides.items()}
        self.units = self._units()

    def _units(self) -> list[Unit]:
        found: dict[str, Unit] = {}
        taken: set[str] = set()
        for updates in self.updates.values():
            for module, update in updates.items():
                if module not in found:
                    found[module] = self._unit(module, (update.left, update.right), is_update=True)
                    taken |= {update.left, update.right}
        for side in self.sides.values():
            for name in side:
                if name not in taken and name not in found:
                    found[name] = self._unit(name, (name,), is_update=False)
        return list(found.values())

    def _unit(self, name: str, members: tuple[str, ...], *, is_update: bool) -> Unit:
        base, ours, theirs = (self._signature(side, name, members) for side in ("original", "ours", "theirs"))
        state: State = (
            ("same" if ours == base else "agreed") if ours == theirs
            else "ours" if theirs == base else "theirs" if ours == base else "conflict"
        )  # fmt: skip
        reason = self._reason(members) if state == "conflict" else ""
        if reason == "rows":
            return Unit(name, members, "rows", is_update, reason)
        return Unit(name, members, state, is_update, reason)

    def _signature(self, name: str, unit: str, members: tuple[str, ...]) -> tuple[Any, ...]:
        """What a side holds of a unit; for an update its scaling belongs to it."""
        side, update = self.sides[name], self.updates[name].get(unit)
        return (*(side.key(member) if member in side else None for member in members),
                update.scaling if update else None)  # fmt: skip

    def _reason(self, members: tuple[str, ...]) -> str:
        if any(member not in side for side in self.sides.values() for member in members):
            return "removed" if all(member in self.base for member in members) else "added"
        shapes = [tuple(side.info(member).shape for member in members) for side in self.sides.values()]
        if len(set(shapes)) == 1 or self._is_update(members):
            return "values"
        return "rows" if len(members) == 1 and self.row_match(members[0]) else "shape"

    def _is_update(self, members: tuple[str, ...]) -> bool:
        shapes = {
            update.shape for updates in self.updates.values() for update in updates.values()
            if (update.left, update.right) == members
        }  # fmt: skip
        return len(members) == 2 and len(shapes) == 1

    def row_match(self, name: str) -> tuple[str, rows.RowMatch] | None:
        """(the side that added or removed rows, how) if the other kept the shape and every kept row can be followed."""
        infos = {side: opened.info(name) for side, opened in self.sides.items()}
        if len({info.dtype for info in infos.values()}) > 1 or any(len(info.shape) < 2 for info in infos.values()):
            return None
        if len({info.shape[1:] for info in infos.values()}) > 1:
            return None
        resized = [side for side in ("ours", "theirs") if infos[side].shape != infos["original"].shape]
        if len(resized) != 1:
            return None
        found = rows.match(self.base.raw_rows(name), self.sides[resized[0]].raw_rows(name))
        return (resized[0], found) if rows.describe(found) and found.in_order else None

    @property
    def conflicts(self) -> list[Unit]:
        """Units that both sides changed, differently."""
        return [unit for unit in self.units if unit.state == "conflict"]

    def can_be_mixed(self, unit: Unit) -> bool:
        """Whether a method can be applied: present everywhere, one shape, numbers with a fraction."""
        if unit.reason != "values":
            return False
        return all(side.info(member).dtype in FLOATING for side in self.sides.values() for member in unit.members)

    def delta(self, unit: Unit, side: str) -> Delta:
        """What a side changed in a unit since the base; an update's change stays factored."""
        if unit.is_update:
            (left, right), (left_0, right_0) = (self.factors(unit, name) for name in (side, "original"))
            return LowRank(np.concatenate([left, -left_0], axis=1), np.concatenate([right, right_0]))
        values, before = (self.matrix(unit.members[0], name) for name in (side, "original"))
        return Dense(values - before)

    def factors(self, unit: Unit, side: str) -> tuple[Array, Array]:
        """scaling·left (m × r) and right (r × n) in float32."""
        update, opened = self.update(unit, side), self.sides[side]
        left = opened.read(update.left).astype(np.float32) * np.float32(update.scaling)
        return left, opened.read(update.right).astype(np.float32)

    def update(self, unit: Unit, side: str) -> Update:
        """The update a side has of a unit."""
        return self.updates[side][unit.name]

    def matrix(self, name: str, side: str) -> Array:
        """A tensor as a float32 matrix (vectors as one row)."""
        values = self.sides[side].read(name).astype(np.float32)
        return values.reshape(1, -1) if values.ndim < 2 else values.reshape(values.shape[0], -1)

    def statistics(self, unit: Unit, side: str, shape: tuple[int, int], needs: Collection[Statistic]) -> Statistics:
        """What a method needs of a side's sidecars about a unit whose change has this shape. Raises FormatError.

        They name its module, and a bias by the vector that changes.
        """
        role = self.sides[side].roles().get(unit.members[0])
        name = unit.name if unit.is_update or role is None else role.module
        if role is not None and role.part == "lora_bias":
            name += ".bias"
        return self.sidecars.get(side, Sidecars()).at(name, shape, needs)

    def preview(self, progress: Progress | None = None) -> dict[str, Any]:
        """Who changed what, and for each conflict how the two changes lie to each other."""
        counts: dict[str, int] = {}
        for unit in self.units:
            counts[unit.state] = counts.get(unit.state, 0) + 1
        found = []
        for number, unit in enumerate(self.conflicts):
            if progress:
                progress(number, len(self.conflicts), unit.name)
            found.append(self._numbers(unit))
        rowwise = [unit.name for unit in self.units if unit.state == "rows"]
        return {"counts": counts, "conflicts": found, "rows": rowwise}

    def _numbers(self, unit: Unit) -> dict[str, Any]:
        row: dict[str, Any] = {
            "name": unit.name, "reason": unit.reason, "is_update": unit.is_update, "mixable": self.can_be_mixed(unit),
            "shape": self._shape(unit),
        }  # fmt: skip
        if not row["mixable"]:
            return row
        ours, theirs = self.delta(unit, "ours"), self.delta(unit, "theirs")
        before = (
            LowRank(*self.factors(unit, "original")) if unit.is_update else Dense(self.matrix(unit.name, "original"))
        )
        base, one, other = norm(before), norm(ours), norm(theirs)
        cosine = inner(ours, theirs) / (one * other) if one and other else None
        return row | {
            "ours_change": _finite(one / base) if base else None,
            "theirs_change": _finite(other / base) if base else None,
            "cosine": _finite(max(-1.0, min(1.0, cosine))) if cosine is not None else None,
            "sign_agreement": _agreement(ours, theirs),
        }

    def _shape(self, unit: Unit) -> list[int]:
        for name, side in self.sides.items():
            if unit.is_update and unit.name in self.updates[name]:
                return list(self.updates[name][unit.name].shape)
            if not unit.is_update and unit.name in side:
                return list(side.info(unit.name).shape)
        return []


def opened(
    base: Side, ours: Side, theirs: Side, files: ExitStack, sidecars: Mapping[str, Sidecars] | None = None
) -> ThreeWay:
    """The three sides with their files open until `files` closes. Raises FormatError."""
    return ThreeWay(base, ours, theirs, files, sidecars)


def _agreement(ours: Delta, theirs: Delta) -> float | None:
    """Share of the entries both sides changed that they changed in the same direction, in blocks of rows."""
    both = same = 0
    for block in blocks(ours.shape):
        signs = np.sign(ours.rows(block)) * np.sign(theirs.rows(block))
        both += int(np.count_nonzero(signs))
        same += int(np.count_nonzero(signs > 0))
    return same / both if both else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
