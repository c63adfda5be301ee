"""Rebuilds any range of an encoded file, block by block, in bounded memory; every block is checked before it leaves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from adapters.encoding.recipe import BLOCK, CHECK, Recipe, blocks_of, check_of, parse, starts, unpack
from adapters.encoding.sources import Damaged, Sources
from adapters.encoding.ways import Cache, Way
from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import BITS, Header, TensorInfo, header_size, parse_header


class Decoder:
    """A recipe made ready: what it says was compared with the header it rebuilds and with the inputs' sizes.

    It holds no source and no block, so one decoder serves many readers. Raises FormatError (the recipe lies), Damaged.
    """

    def __init__(self, recipe: bytes, sizes: Sequence[int], sources: Sources) -> None:
        self.recipe: Recipe = parse(recipe)
        self.size = self.recipe.size
        self._sizes = tuple(sizes)
        if len(self._sizes) != self.recipe.inputs:
            raise FormatError("recipe", "This recipe was written for another number of inputs.")
        self._starts = starts(self.recipe.lengths)
        head = head_info(self.recipe.head)
        self.recipe.head_way.check(head, self._sizes)
        self._head = self._block(self.recipe.head_way, head, 0, 0, self.recipe.head, 1, sources, {})
        self.header = read_head(self._head, self.size)
        self._tensors = [info for info in self.header.tensors.values() if info.nbytes]
        self._check()
        self._numbers = list(accumulate((blocks_of(info.nbytes) for info in self._tensors), initial=1))

    def stream(self, sources: Sources, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive) of the file. Raises Damaged."""
        end = self.size if end is None else min(end, self.size)
        cache: Cache = {}
        if start < min(end, self.recipe.head):
            yield self._head[start : min(end, self.recipe.head)]
        base = self.header.data_start
        place = max(0, bisect_right([info.begin for info in self._tensors], max(0, start - base)) - 1)
        for number in range(place, len(self._tensors)):
            info = self._tensors[number]
            if base + info.begin >= end:
                return
            width = max(1, BITS[info.dtype] // 8)
            for index in range(blocks_of(info.nbytes)):
                low = base + info.begin + index * BLOCK
                high = min(low + BLOCK, base + info.end)
                if high <= start or low >= end:
                    continue
                which = self._numbers[number] + index
                way = self.recipe.ways[number]
                block = self._block(way, info, which, index * BLOCK, high - low, width, sources, cache)
                yield block[max(0, start - low) : end - low]

    def _block(
        self, way: Way, info: TensorInfo, which: int, at: int, size: int, width: int, sources: Sources, cache: Cache
    ) -> bytes:
        low, high = int(self._starts[which]), int(self._starts[which + 1])
        different = unpack(sources.payload(low, high) if high > low else b"", size, width)
        bits = way.predict(info, at, at + size, sources, cache)
        if bits.size != size:
            raise Damaged("An input ends before what is to be read of it.")
        block = (bits if different is None else np.bitwise_xor(bits, different)).tobytes()
        if check_of(block) != self.recipe.checks[which * CHECK : (which + 1) * CHECK]:
            raise Damaged("A rebuilt block is not what was encoded.")
        return block

    def _check(self) -> None:
        if len(self._tensors) != len(self.recipe.ways):
            raise FormatError("recipe", "This recipe has another number of tensors than the file.")
        blocks = [self.recipe.head]
        for info, way in zip(self._tensors, self.recipe.ways, strict=True):
            way.check(info, self._sizes)
            blocks += [min(BLOCK, info.nbytes - at) for at in range(0, info.nbytes, BLOCK)]
        if len(blocks) != len(self.recipe.lengths):
            raise FormatError("recipe", "This recipe has another number of blocks than the file.")
        if any(length > size for length, size in zip(self.recipe.lengths, blocks, strict=True)):
            raise FormatError("recipe", "A block of this recipe is larger than what it stands for.")


def head_info(size: int) -> TensorInfo:
    """The header's bytes as if they were a tensor."""
    return TensorInfo("header", "U8", (size,), 0, size)


def read_head(head: bytes, size: int) -> Header:
    """The header out of the first bytes of a file. Raises FormatError."""
    length = header_size(head[:8], size)
    if len(head) != 8 + length:
        raise FormatError("recipe", "This recipe's header has another size than it says.")
    return parse_header(head[8:], size)
