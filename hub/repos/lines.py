"""How two texts differ by lines, as `diff -u` writes it, with a bound on the work that anybody can ask for.

difflib tries each line at every place where the other text has it too, again for every piece that it finds equal: texts
of many repeated lines cost it the square of their length or more. Here every search is paid for before it begins.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import accumulate, takewhile

STEPS = 16_000_000
"""What one comparison of two revisions may take, all files together: about a second. Usual files take thousands."""

LINE_STEPS = 8
"""A line that is split off, indexed and written costs about as much as so many places where one is tried."""

LINE_ENDS = b"\n\r\v\f\x1c\x1d\x1e\x85\xa8\xa9"
"""Last bytes of all that `str.splitlines` splits at. Other letters end on some of them too, which only counts more."""

TOO_LONG = "too long to show by lines"


Group = Sequence[tuple[str, int, int, int, int]]
"""difflib's operations on lines `old` to `old_end` and `new` to `new_end` that lie close together."""


class TooLong(Exception):
    """To tell how these texts differ would take too much work."""


class Work:
    """What is left of a comparison's steps. A step is a place where a line of one text is tried in the other."""

    def __init__(self, steps: int = STEPS) -> None:
        self.left = steps
        self._floor = 0

    def begin(self) -> None:
        """Another file: it may take half of what is left, so that one long file does not hide all others."""
        self._floor = self.left // 2

    def take(self, steps: int) -> None:
        """Spend steps. Raises TooLong, and spends none, if the file may not have so many."""
        if self.left - steps < self._floor:
            raise TooLong
        self.left -= steps


def hunks(before: bytes, after: bytes, work: Work, *, keepends: bool = False, errors: str = "strict") -> list[str]:
    """The changed places of a text, each with three lines around it under an `@@` line; empty for equal lines.

    With `keepends` the lines have the ends that they have in the text. What texts of many repeated lines have in common
    at their beginning and end is set aside. Raises TooLong, UnicodeDecodeError (unless `errors` says otherwise).
    """
    work.begin()
    count = sum(1 + len(side) - len(side.translate(None, LINE_ENDS)) for side in (before, after))
    work.take(LINE_STEPS * count)
    old, new = (side.decode(errors=errors).splitlines(keepends) for side in (before, after))
    try:
        groups: list[Group] = list(_Counted(old, new, work).get_grouped_opcodes())
    except TooLong:
        groups = _middle(old, new, work)
    end = "\n" if keepends else ""
    return [line for group in groups for line in _written(old, new, group, end)]


def _middle(old: list[str], new: list[str], work: Work) -> list[Group]:
    """The groups of two texts, without what they have in common at both ends beyond what is shown around a change."""
    most = min(len(old), len(new))
    first = _alike(old, new)
    last = min(_alike(old[::-1], new[::-1]), most - first)
    first, last = max(0, first - 3), max(0, last - 3)
    inner = _Counted(old[first : len(old) - last], new[first : len(new) - last], work)
    return [
        [(kind, a + first, b + first, c + first, d + first) for kind, a, b, c, d in group]
        for group in inner.get_grouped_opcodes()
    ]


def _alike(one: list[str], other: list[str]) -> int:
    """How many lines both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _written(old: list[str], new: list[str], group: Group, end: str) -> list[str]:
    """One hunk."""
    first, last = group[0], group[-1]
    lines = [f"@@ -{_place(first[1], last[2])} +{_place(first[3], last[4])} @@{end}"]
    for kind, start, stop, new_start, new_stop in group:
        if kind == "equal":
            lines += [f" {line}" for line in old[start:stop]]
        else:
            lines += [f"-{line}" for line in old[start:stop]]
            lines += [f"+{line}" for line in new[new_start:new_stop]]
    return lines


def _place(start: int, end: int) -> str:
    """Lines `start` to `end` (from 0, exclusive) in the way of `@@` lines: the first one from 1, and how many."""
    length = end - start
    return str(start + 1) if length == 1 else f"{start + 1 if length else start},{length}"


class _Counted(difflib.SequenceMatcher[str]):
    """difflib's own matching, each of its searches paid for before it begins."""

    def __init__(self, before: Sequence[str], after: Sequence[str], work: Work) -> None:
        super().__init__(None, before, after)
        places = self.b2j  # type: ignore[attr-defined]  # line → where `after` has it; without very common lines
        self._work = work
        self._cost = [0, *accumulate(1 + len(places.get(line, ())) for line in before)]

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        """As difflib does it. Raises TooLong."""
        self._work.take(self._cost[-1 if ahi is None else ahi] - self._cost[alo])
        return super().find_longest_match(alo, ahi, blo, bhi)
