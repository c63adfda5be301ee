"""A file that lies elsewhere, read in ranges: the tensors that are next arrive while the present ones are merged.

The file is cut where tensors end, small ones together, large ones into parts. A part that is read is kept until room is
needed, and the one behind it is asked for already. Memory is what the `Budget` says, however many files there are.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from adapters.formats.errors import FormatError

Fetch = Callable[[int, memoryview], None]
"""Fills memory with what lies at a place; called by several threads."""

SMALLEST, LARGEST = 1 << 18, 8 << 20
SPARSE = 8
"""A reading of less than this share of a part, elsewhere than where the last one ended, takes no whole part along, in a
tensor of more parts than are kept."""


@dataclass
class Budget:
    """The memory (bytes) and connections that all `files` of a merge by so many `threads` share. Close it."""

    files: int
    threads: int = 1
    total: int = 128 << 20
    connections: int = 4
    pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.connections, "range")

    @property
    def kept(self) -> int:
        """Parts kept of each file: for each thread the one it reads and the next, and two that are done."""
        return 2 * self.threads + 2

    @property
    def part(self) -> int:
        """Bytes of one part, so that what all files keep fits."""
        return min(LARGEST, max(SMALLEST, self.total // (self.kept * max(1, self.files))))

    def close(self) -> None:
        """Drop what is under way."""
        self.pool.shutdown(wait=True, cancel_futures=True)


class Remote:
    """One such file. `hashes` are the sha256 of tensors, by name, where they are known: they are compared.

    Raises FormatError `changed` for a tensor that is not what it was, and whatever `fetch` raises.
    """

    def __init__(self, size: int, fetch: Fetch, budget: Budget, hashes: Mapping[str, str] | None = None) -> None:
        self.size, self._fetch, self._budget, self._hashes = size, fetch, budget, hashes or {}
        self._starts: list[int] = []
        self._of_large: set[int] = set()
        self._parts: OrderedDict[int, Future[bytearray]] = OrderedDict()
        self._ends: dict[int, int] = {}
        self._lock = threading.Lock()
        self._checks: list[_Check] = []

    def laid_out(self, spans: Mapping[str, tuple[int, int]]) -> None:
        """See `adapters.formats.values.Bytes`."""
        most, starts, full = self._budget.part, [0], False
        for begin, end in sorted(spans.values()):
            if begin > starts[-1] and (full or end - starts[-1] > most):
                starts.append(begin)
            full, first = end - begin > most, len(starts) - 1
            if full:
                starts.extend(range(begin + most, end, most))
            if len(starts) - first > self._budget.kept:
                self._of_large.update(range(first, len(starts)))
        self._starts = starts
        known = ((*spans[name], sha256) for name, sha256 in self._hashes.items() if name in spans)
        self._checks = [_Check(begin, end, sha256) for begin, end, sha256 in sorted(known) if end > begin]

    def read(self, offset: int, length: int) -> bytes:
        """See `adapters.formats.values.Bytes`."""
        target = bytearray(length)
        self.read_into(offset, memoryview(target))
        return bytes(target)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill the target from what is here or on its way, or by asking for it."""
        if offset + len(target) > self.size:
            raise FormatError("truncated", "The file is shorter than its header says.")
        if not target:
            return
        if not self._starts or self._sparse(offset, len(target)):
            self._fetch(offset, target)
        else:
            self._copy(offset, target)
        self._compare(offset, target)

    def close(self) -> None:
        """Forget what is here."""
        with self._lock:
            self._parts.clear()

    def _copy(self, offset: int, target: memoryview) -> None:
        while target:
            number = self._number(offset)
            part, first = self._part(number).result(), offset - self._starts[number]
            length = min(len(part) - first, len(target))
            target[:length] = memoryview(part)[first : first + length]
            target, offset = target[length:], offset + length

    def _number(self, offset: int) -> int:
        return bisect_right(self._starts, offset) - 1

    def _part(self, number: int) -> Future[bytearray]:
        """A part; the next one is asked for too."""
        with self._lock:
            for one in (number, min(number + 1, len(self._starts) - 1)):
                if one not in self._parts:
                    self._parts[one] = self._budget.pool.submit(self._fetched, one)
                self._parts.move_to_end(one)
            while len(self._parts) > self._budget.kept:
                self._parts.popitem(last=False)
            return self._parts[number]

    def _fetched(self, number: int) -> bytearray:
        part = bytearray(self._end(number) - self._starts[number])
        self._fetch(self._starts[number], memoryview(part))
        return part

    def _end(self, number: int) -> int:
        return self._starts[number + 1] if number + 1 < len(self._starts) else self.size

    def _sparse(self, offset: int, length: int) -> bool:
        """Is this one of a few rows here and there of a large tensor, whose part is not at hand?"""
        number, thread = self._number(offset), threading.get_ident()
        with self._lock:
            follows = self._ends.get(thread) == offset
            self._ends[thread] = offset + length
            here = number in self._parts or offset == self._starts[number]
        few = length * SPARSE < self._end(number) - self._starts[number]
        return few and number in self._of_large and not (follows or here)

    def _compare(self, offset: int, target: memoryview) -> None:
        number = bisect_right(self._checks, offset, key=lambda check: check.begin) - 1
        if number >= 0:
            self._checks[number].see(offset, target)


class _Check:
    """The hash of one tensor, taken from its beginning to its end as its bytes pass by; what is read again is not."""

    def __init__(self, begin: int, end: int, sha256: str) -> None:
        self.begin, self._end, self._sha256 = begin, end, sha256
        self._next, self._digest = begin, hashlib.sha256()
        self._lock = threading.Lock()

    def see(self, offset: int, data: memoryview) -> None:
        """Take in what was not seen yet, if it follows. Raises FormatError at the end of a tensor that has changed."""
        with self._lock:
            until = min(offset + len(data), self._end)
            if not offset <= self._next < until:
                return
            self._digest.update(data[self._next - offset : until - offset])
            self._next = until
            if until == self._end and self._digest.hexdigest() != self._sha256:
                raise FormatError(
                    "changed", "The stored bytes are not what they were. Ask the operator to check the store."
                )
