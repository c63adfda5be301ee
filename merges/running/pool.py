"""Layers side by side: a few threads, results in order. Numpy lets go of the interpreter while it computes.

Not processes: even of TIES on adapters nine tenths of the CPU time is numpy's, so on two cores a second process could
gain a tenth over a second thread, and would pay for its imports and for sending results.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_THREADS = 8
WORTH_IT = 50_000_000


def threads_for(values: int) -> int:
    """How many threads a merge of so many values gets: one while it is small, else one for each core at hand."""
    return 1 if values < WORTH_IT else most_threads()


def most_threads() -> int:
    """How many threads a merge gets at most here."""
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))


def in_order(items: Iterable[Item], work: Callable[[Item], Result], threads: int) -> Iterator[Result]:
    """`work` of each item, in the items' order, at most one item for each thread ahead of what was asked for.

    With one thread nothing runs ahead. Whatever `work` raises is raised when its turn comes; the rest is dropped.
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()
