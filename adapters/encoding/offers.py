"""What may explain the tensors of a checkpoint: other checkpoints, an adapter on one of them, the mean of two.

Offers are cheap guesses in the order in which they are cheap to read; `encode` tries them on bits and keeps one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from adapters.diffs import rows as row_matching
from adapters.diffs.sides import OpenSide, Side
from adapters.diffs.updates import updates_of
from adapters.encoding.encode import SAMPLE
from adapters.encoding.numbers import WIDTHS, widen
from adapters.encoding.sources import FileSources
from adapters.encoding.ways import ROUNDINGS, Cast, Lora, Mean, Place, Rows, Same, Scale, Way
from adapters.formats.modules import BaseIndex, endings
from adapters.formats.peft_config import PeftConfig
from adapters.formats.safetensors_header import Header, TensorInfo
from adapters.formats.values import TensorFile

NEAR = 0.05
"""How far from a weighted mean a tensor may be, relative to the distance of the two: else it is not offered as one."""


@dataclass(frozen=True)
class Held:
    """A tensor of an input: its number, and where its bytes begin in that file."""

    number: int
    info: TensorInfo
    offset: int

    @property
    def place(self) -> Place:
        """Its values."""
        return Place(self.number, self.offset, self.info.dtype)


@dataclass(frozen=True)
class Family:
    """The files of one checkpoint among the inputs, by number."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class OnFamily:
    """An adapter among the inputs (its file's number) that may have been applied to a family."""

    number: int
    config: PeftConfig
    family: int


@dataclass
class Named:
    """Tensors of a checkpoint by name and by the end of their name."""

    exact: dict[str, Held] = field(default_factory=dict)
    endings: dict[str, list[Held]] = field(default_factory=dict)

    def add(self, held: Held) -> None:
        """One more tensor."""
        self.exact[held.info.name] = held
        for ending in endings(held.info.name):
            self.endings.setdefault(ending, []).append(held)

    def find(self, name: str) -> Held | None:
        """By name, else by the longest ending that leads to one tensor only: prefixes come and go."""
        if name in self.exact:
            return self.exact[name]
        for ending in endings(name):
            found = self.endings.get(ending, [])
            if len(found) == 1:
                return found[0]
        return None


class Offers:
    """Lists ways for each tensor of a new file. Use as a context manager. Raises FormatError for broken inputs.

    `families` stand in the order of preference (what is stored as it is comes first). `inherited` are ways that
    explained a tensor of that name exactly in a parent.
    """

    def __init__(
        self, new: Path, inputs: Sequence[Path], families: Sequence[Family], adapters: Sequence[OnFamily] = (),
        inherited: Mapping[str, Way] | None = None,
    ) -> None:  # fmt: skip
        self._stack = ExitStack()
        try:
            self._new = self._stack.enter_context(TensorFile(new))
            self._sources = self._stack.enter_context(FileSources([*inputs, new]))
            self._inputs, self._own = list(inputs), len(inputs)
            self._families = [self._named(family) for family in families]
            self._updates: list[dict[str, list[Way]]] = [
                adapter_ways(adapter, inputs[adapter.number], self._families[adapter.family]) for adapter in adapters
            ]
        except BaseException:
            self._stack.close()
            raise
        self._inherited = dict(inherited or {})

    def __enter__(self) -> Offers:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def __call__(self, info: TensorInfo) -> Iterator[Way]:
        """Ways that may explain a tensor; the first of equally good ones is kept."""
        found = [held for held in (named.find(info.name) for named in self._families) if held is not None]
        for held in found:
            if (held.info.dtype, held.info.shape) == (info.dtype, info.shape):
                yield Same(held.number, held.offset)
        if info.name in self._inherited:
            yield self._inherited[info.name]
        for held in found:
            yield from self._other_form(info, held)
        names = {held.info.name for held in found}
        for ways in self._updates:
            for name in names:
                yield from ways.get(name, ())
        yield from self._means(info, found)

    def _other_form(self, info: TensorInfo, held: Held) -> Iterator[Way]:
        both = info.dtype in WIDTHS and held.info.dtype in WIDTHS
        if held.info.dtype != info.dtype and both and held.info.shape == info.shape:
            yield Cast(held.place)
        trimmed = len(info.shape) == 2 == len(held.info.shape) and info.shape[0] != held.info.shape[0]
        if trimmed and held.info.dtype == info.dtype and held.info.shape[1] == info.shape[1] and info.count:
            yield self._rows(info, held)

    def _rows(self, info: TensorInfo, held: Held) -> Rows:
        matched = row_matching.match(self._row_bytes(held.number, held.info, held.offset), self._own_rows(info))
        runs = []
        shifts = groupby(enumerate(matched.origins), key=lambda pair: pair[1] - pair[0] if pair[1] >= 0 else None)
        for _shift, group in shifts:
            members = list(group)
            runs.append((len(members), members[0][1]))
        return Rows(held.number, held.offset, tuple(runs))

    def _own_rows(self, info: TensorInfo) -> Iterator[bytes]:
        return self._row_bytes(self._own, info, self._new.header.data_start + info.begin)

    def _row_bytes(self, number: int, info: TensorInfo, offset: int) -> Iterator[bytes]:
        width = info.nbytes // info.shape[0]
        step = max(1, (1 << 20) // width)
        for first in range(0, info.shape[0], step):
            last = min(first + step, info.shape[0])
            raw = self._sources.input(number, offset + first * width, offset + last * width)
            yield from (raw[at : at + width] for at in range(0, len(raw), width))

    def _means(self, info: TensorInfo, found: Sequence[Held]) -> Iterator[Way]:
        usable = [held for held in found if held.info.shape == info.shape and held.info.dtype in WIDTHS]
        if info.dtype not in WIDTHS:
            return
        count = min(info.count, SAMPLE // WIDTHS[info.dtype])
        start = (info.count - count) // 2
        width, offset = WIDTHS[info.dtype], self._new.header.data_start + info.begin
        raw = self._sources.input(self._own, offset + start * width, offset + (start + count) * width)
        own = widen(raw, info.dtype)
        for at, one in enumerate(usable):
            for other in usable[at + 1 :]:
                left, right = (held.place.read(self._sources, start, start + count) for held in (one, other))
                weight = _share(own, left, right)
                if weight is not None:
                    yield Mean(((one.place, weight), (other.place, 1.0 - weight)))

    def _named(self, family: Family) -> Named:
        named = Named()
        for number in family.numbers:
            with TensorFile(self._inputs[number]) as opened:
                for info in opened.header.tensors.values():
                    named.add(Held(number, info, opened.header.data_start + info.begin))
        return named


def _share(own: np.ndarray, left: np.ndarray, right: np.ndarray) -> float | None:
    """w where own ≈ w·left + (1 − w)·right, to three places if that is meant; None if it is no such mean."""
    with np.errstate(all="ignore"):
        apart, off = left - right, own - right
        norm = float(np.sum(apart * apart))
        if not np.isfinite(norm) or not norm:
            return None
        weight = float(np.sum(off * apart)) / norm
        if not np.isfinite(weight) or not float(np.sum((off - weight * apart) ** 2)) <= NEAR**2 * norm:
            return None
    short = round(weight, 3)
    weight = short if abs(weight - short) < 1e-4 else weight
    return weight if weight not in (0.0, 1.0) else None


def adapter_ways(adapter: OnFamily, path: Path, family: Named) -> dict[str, list[Way]]:
    """Base tensor's name → what the adapter would make of it."""
    ways: dict[str, list[Way]] = {}
    infos = {name: held.info for name, held in family.exact.items()}
    index = BaseIndex(Header(infos))
    with ExitStack() as stack:
        side = OpenSide(Side([path], adapter.config), stack)
        with TensorFile(path) as opened:
            start = opened.header.data_start
        held = {name: Held(adapter.number, side.info(name), start + side.info(name).begin) for name in side}
        for module, update in updates_of(side).items():
            weight = index.weight(module)
            if weight is None or len(weight.shape) != 2:
                continue
            if adapter.config.dora or not update.fits(weight.shape):
                continue
            turned = update.lies_turned(weight.shape)
            for rounding in ROUNDINGS:
                way = Lora(
                    family.exact[weight.name].place, held[update.left].place, held[update.right].place, update.rank,
                    update.scaling, turned, rounding,
                )  # fmt: skip
                ways.setdefault(weight.name, []).append(way)
        for name, role in side.roles().items():
            if role.part == "ia3_l" and (weight := index.weight(role.module)):
                _scales(ways, weight, held[name], adapter.config, role.module, family)
            elif role.part in ("head", "base_copy"):
                target = family.find(f"{role.module}.{role.parameter}")
                if target and held[name].info.shape == target.info.shape:
                    same = held[name].info.dtype == target.info.dtype
                    way_ = Same(adapter.number, held[name].offset) if same else Cast(held[name].place)
                    ways.setdefault(target.info.name, []).append(way_)
    return ways


def _scales(
    ways: dict[str, list[Way]], weight: TensorInfo, vector: Held, config: PeftConfig, module: str, family: Named
) -> None:
    """IA3: columns of a feed-forward layer's weight, else its rows and its bias."""
    feedforward = config.is_feedforward(module)
    axis = int(feedforward) ^ int(config.fan_in_fan_out)
    if vector.info.count != weight.shape[axis]:
        return
    ways.setdefault(weight.name, []).append(Scale(family.exact[weight.name].place, vector.place, axis))
    bias = family.exact.get(weight.name.removesuffix("weight") + "bias")
    if bias is not None and not feedforward and bias.info.count == vector.info.count:
        ways.setdefault(bias.info.name, []).append(Scale(bias.place, vector.place, 0))
