"""Writes a file as recipe and payload: for each tensor the way that leaves least, tried on a sample of its bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from adapters.encoding.decode import head_info
from adapters.encoding.numbers import Bits
from adapters.encoding.recipe import BLOCK, Recipe, check_of, pack
from adapters.encoding.sources import FileSources, Sources
from adapters.encoding.ways import New, Same, Way
from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import BITS, TensorInfo
from adapters.formats.values import TensorFile

SAMPLE = 1 << 16
"""Bytes on which ways are compared."""

SLACK = 1.02
"""A later way must be better than an earlier one by so much: callers list what is cheapest to read first."""

Offered = Callable[[TensorInfo], Iterable[Way]]
Report = Callable[[int, int], None]


@dataclass
class _Writing:
    """What grows while a file is encoded."""

    out: BinaryIO
    lengths: list[int] = field(default_factory=list)
    checks: list[bytes] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)

    def add(self, block: Bits, predicted: Bits, width: int) -> None:
        """Append one block."""
        payload = pack(np.bitwise_xor(block, predicted), width)
        self.lengths.append(len(payload))
        self.checks.append(check_of(block.tobytes()))
        self.out.write(payload)


def encode(
    path: Path, inputs: Sequence[Path], offered: Offered, out: BinaryIO, report: Report = lambda done, total: None
) -> Recipe:
    """Encode a safetensors file; the payload is written to `out`. Memory: a few blocks and one module's factors.

    `offered` lists ways for a tensor; those that cannot be true of it are passed over. A tensor without a good way is
    stored as it is, by planes. Raises FormatError if the file breaks its format.
    """
    sizes = tuple(one.stat().st_size for one in inputs)
    writing, total = _Writing(out), path.stat().st_size
    with TensorFile(path) as opened, FileSources([*inputs, path]) as sources:
        start, own = opened.header.data_start, len(inputs)
        head = np.frombuffer(sources.input(own, 0, start), np.uint8)
        head_way = _head_way(head, sizes, sources)
        predicted = head_way.predict(head_info(start), 0, start, sources, {})
        writing.add(head, predicted, 1)
        for info in opened.header.tensors.values():
            if info.nbytes:
                _tensor(writing, info, start, own, sizes, offered(info), sources, lambda done: report(done, total))
    return Recipe(
        total, len(inputs), start, head_way, tuple(writing.ways), tuple(writing.lengths), b"".join(writing.checks)
    )


def _tensor(
    writing: _Writing, info: TensorInfo, start: int, own: int, sizes: tuple[int, ...], offered: Iterable[Way],
    sources: Sources, report: Callable[[int], None],
) -> None:  # fmt: skip
    width = max(1, BITS[info.dtype] // 8)
    way = _choose(info, start, own, sizes, offered, sources)
    writing.ways.append(way)
    cache: dict[tuple[object, ...], object] = {}
    for at in range(0, info.nbytes, BLOCK):
        end = min(at + BLOCK, info.nbytes)
        block = np.frombuffer(sources.input(own, start + info.begin + at, start + info.begin + end), np.uint8)
        writing.add(block, way.predict(info, at, end, sources, cache), width)
        report(start + info.begin + end)


def _choose(
    info: TensorInfo, start: int, own: int, sizes: tuple[int, ...], offered: Iterable[Way], sources: Sources
) -> Way:
    """The way that leaves the fewest bytes of a sample: three places of the tensor."""
    width = max(1, BITS[info.dtype] // 8)
    spans = sample(info.nbytes)
    blocks = [
        np.frombuffer(sources.input(own, start + info.begin + low, start + info.begin + high), np.uint8)
        for low, high in spans
    ]
    best: Way = New()
    least = float(sum(len(pack(block, width)) for block in blocks))
    for way in offered:
        if not least:
            break
        try:
            way.check(info, sizes)
        except FormatError:
            continue
        cache: dict[tuple[object, ...], object] = {}
        left = 0
        for block, (low, high) in zip(blocks, spans, strict=True):
            left += len(pack(np.bitwise_xor(block, way.predict(info, low, high, sources, cache)), width))
        if left * (1.0 if isinstance(best, New) else SLACK) < least:
            best, least = way, left
    return best


def sample(nbytes: int) -> list[tuple[int, int]]:
    """Up to three ranges of a tensor: begin, middle, end; borders between elements of any type."""
    if nbytes <= 3 * SAMPLE:
        return [(0, nbytes)]
    middle = nbytes // 2 // 64 * 64
    last = (nbytes - SAMPLE) // 64 * 64
    return [(0, SAMPLE), (middle, middle + SAMPLE), (last, nbytes)]


def _head_way(head: Bits, sizes: tuple[int, ...], sources: Sources) -> Way:
    """A header that an input has too costs nothing."""
    for number, size in enumerate(sizes):
        if size >= head.size and sources.input(number, 0, head.size) == head.tobytes():
            return Same(number, 0)
    return New()
