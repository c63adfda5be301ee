"""Memory for one block of values, used again and again: fresh memory costs more than the sums done in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Half a megabyte of float32: a few of them fit a core's own cache, and numpy's calls are rare enough to cost little.
BLOCK_VALUES = 1 << 17


class _Spare(threading.local):
    """The blocks that nobody uses now, each thread's own."""

    def __init__(self) -> None:
        self.blocks: list[Array] = []


_spare = _Spare()


@contextmanager
def borrowed(shape: tuple[int, int], count: int = 1) -> Iterator[list[Array]]:
    """`count` float32 arrays of this shape, holding anything, until the block ends. Do not keep them."""
    size = shape[0] * shape[1]
    flats = [_spare.blocks.pop() if _spare.blocks and size <= BLOCK_VALUES else _made(size) for _ in range(count)]
    try:
        yield [flat[:size].reshape(shape) for flat in flats]
    finally:
        _spare.blocks.extend(flat for flat in flats if flat.size == BLOCK_VALUES)


def mask_in(values: Array) -> Array:
    """A boolean array of the same shape in the memory of a borrowed one."""
    result: Array = values.reshape(-1).view(np.bool_)[: values.size].reshape(values.shape)
    return result


def _made(size: int) -> Array:
    return np.empty(max(size, BLOCK_VALUES), np.float32)
