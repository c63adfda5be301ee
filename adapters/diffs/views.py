"""A side of a comparison as named things with values: tensors of a checkpoint, updates of an adapter, or a base with
an adapter applied (whose changed weights are made block by block when they are read).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from adapters.diffs.changes import Unit
from adapters.diffs.pairs import Rows
from adapters.diffs.sides import OpenSide
from adapters.diffs.updates import Update, factors, updates_of
from adapters.formats.modules import BaseIndex, WeightRole
from adapters.formats.safetensors_header import Header
from adapters.formats.values import NUMPY, Array


@dataclass
class Entry:
    """One named thing: its shape and type, its key (empty if it is not stored as such), its values in row blocks.

    `update`: the LoRA update that makes it. `stored`: names of the stored tensors behind it, in `side`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    rows: Rows
    raw_rows: Callable[[], Iterator[bytes]] | None = None
    find_key: Callable[[], str] | None = None
    unit: Unit = "tensor"
    update: Update | None = None
    stored: tuple[str, ...] = field(default_factory=tuple)
    side: OpenSide | None = None

    @property
    def key(self) -> str:
        """The key of a stored tensor, else nothing."""
        return self.find_key() if self.find_key else ""

    @property
    def readable(self) -> bool:
        """Whether its values can be decoded."""
        return self.dtype in NUMPY


View = dict[str, Entry]


def tensors(side: OpenSide, names: Iterator[str] | None = None) -> View:
    """Every stored tensor under its own name."""
    return {name: _stored(side, name) for name in names or iter(side)}


def _stored(side: OpenSide, name: str, shown: str = "") -> Entry:
    info = side.info(name)
    return Entry(
        shown or name, info.shape, info.dtype, lambda: side.rows(name), lambda: side.raw_rows(name),
        lambda: side.key(name), stored=(name,), side=side,
    )  # fmt: skip


def of_adapter(side: OpenSide) -> View:
    """An adapter's updates by module, then its other tensors (heads, IA3 vectors, prompts, magnitudes) by name."""
    found = updates_of(side)
    inside = {name for update in found.values() for name in (update.left, update.right)}
    view = {module: _update(side, update) for module, update in found.items()}
    return view | tensors(side, (name for name in side if name not in inside))


def _update(side: OpenSide, update: Update) -> Entry:
    def rows() -> Iterator[Array]:
        left, right = factors(side, update)
        return (left[row : row + 256] @ right for row in range(0, update.shape[0], 256))

    return Entry(
        update.module, update.shape, update.dtype, rows, unit="update", update=update,
        stored=(update.left, update.right), side=side,
    )  # fmt: skip


def applied(adapter: OpenSide, base: OpenSide) -> View:
    """The base with the adapter applied: changed weights under the base's names, heads under their own.

    LoRA: W + ΔW. IA3: W scaled along its outputs, and so its bias, or (feed-forward) along its inputs. What the base
    does not have, or has in another size, is left out.
    """
    view = tensors(base)
    index = BaseIndex(Header({name: base.info(name) for name in base}))
    for update in updates_of(adapter).values():
        weight = index.weight(update.module)
        if weight is not None and update.fits(weight.shape):
            view[weight.name] = _added(adapter, base, weight.name, update)
    for role in adapter.roles().values():
        weight = index.weight(role.module) if role.module else None
        if role.part == "ia3_l" and weight is not None:
            view |= _scaled(adapter, base, weight.name, role)
        elif role.part in ("head", "base_copy"):
            named = f"{role.module}.{role.parameter}"
            view[weight.name if weight is not None and role.parameter == "weight" else named] = _stored(
                adapter, role.name, weight.name if weight is not None and role.parameter == "weight" else named
            )
    return view


def _added(adapter: OpenSide, base: OpenSide, name: str, update: Update) -> Entry:
    info = base.info(name)

    def rows() -> Iterator[Array]:
        left, right = factors(adapter, update)
        if update.lies_turned(info.shape):
            left, right = right.T, left.T
        row = 0
        for block in base.rows(name):
            yield (block + left[row : row + block.shape[0]] @ right).astype(np.float32)
            row += block.shape[0]

    return Entry(name, info.shape, "F32", rows, update=update, stored=(update.left, update.right), side=adapter)


def _scaled(adapter: OpenSide, base: OpenSide, name: str, role: WeightRole) -> View:
    """What an IA3 vector makes of a layer's weight and bias."""
    config, size = adapter.config, adapter.info(role.name).count
    assert config is not None
    feedforward, shape = config.is_feedforward(role.module), base.info(name).shape
    axis = int(feedforward) ^ int(config.fan_in_fan_out)
    if len(shape) < 2 or shape[axis] != size:
        return {}
    view = {name: _multiplied(adapter, base, name, role, axis)}
    bias = name.removesuffix("weight") + "bias"
    if not feedforward and bias in base and base.info(bias).shape == (size,):
        view[bias] = _multiplied(adapter, base, bias, role, 0)
    return view


def _multiplied(adapter: OpenSide, base: OpenSide, name: str, role: WeightRole, axis: int) -> Entry:
    info = base.info(name)

    def rows() -> Iterator[Array]:
        vector, row = adapter.read(role.name).astype(np.float32).ravel(), 0
        for block in base.rows(name):
            # A convolution has a patch of columns for each input.
            by_column = np.repeat(vector, block.shape[1] // vector.size) if axis else vector[:0]
            yield block * (by_column if axis else vector[row : row + block.shape[0], None])
            row += block.shape[0]

    return Entry(name, info.shape, "F32", rows, stored=(role.name,), side=adapter)
