"""Patterns over module names that always match in linear time.

peft treats some strings of adapter_config.json as Python regular expressions, and a nested repetition in one can run
for ever. Here a small subset is parsed into a nondeterministic automaton and simulated state set by state set
(K. Thompson, "Regular expression search algorithm", 1968); seen sets are kept, so a pattern matched against many names
costs one table look-up a letter. A budget of steps, not a clock, stops the patterns that are still too costly.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import NoReturn

from adapters.formats.errors import FormatError

MAX_PATTERN_LENGTH = 256
MAX_STEPS = 300_000
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_LITERAL = re.compile(r"[A-Za-z0-9_\-]")
_CLASS = re.compile(r"\[((?:[A-Za-z0-9_](?:-[A-Za-z0-9])?)+)\]")
_DIGITS = frozenset("0123456789")
_NAME = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_ESCAPES: dict[str, frozenset[str] | str] = {"d": _DIGITS, "w": _NAME, ".": ".", "-": "-", "_": "_"}
_OTHER = "\0"

# An edge test: one letter, a set of letters, None for any letter. A state is a list of (test, target); a free move
# is kept apart in _free.
_Test = str | frozenset[str] | None


def is_plain_name(text: str) -> bool:
    """True for an ordinary module name such as `query` or `attention.self.query` (no pattern characters)."""
    return len(text) <= 256 and _PLAIN.fullmatch(text) is not None


class NamePattern:
    """A compiled pattern: letters, `.`, `\\.`, `\\d`, `\\w`, `[a-z0-9]`, groups, `|`, `?`, `*`, `+`, outer `^` and `$`.

    Raises FormatError `pattern` for anything else: lookarounds, back-references, counted repetition, repeated groups.
    """

    def __init__(self, text: str, *, dotted_end: bool = False) -> None:
        """With `dotted_end` a match may also begin after any dot, as peft looks up rank patterns."""
        if not text or len(text) > MAX_PATTERN_LENGTH:
            raise FormatError("pattern", f"A module pattern must have 1 to {MAX_PATTERN_LENGTH} letters.")
        self.text = text
        self._body = text.removeprefix("^")
        if self._body.endswith("$") and not self._body.endswith("\\$"):
            self._body = self._body[:-1]
        self._moves: list[list[tuple[_Test, int]]] = []
        self._free: list[list[int]] = []
        self._position = 0
        start, self._end = self._alternatives(0)
        if self._position != len(self._body):
            self._refuse()
        if dotted_end:
            skip = self._state()
            self._moves[skip] = [(None, skip), (".", start)]
            self._free[skip] = []
            first = self._closure({skip, start})
        else:
            first = self._closure({start})
        self._sets: list[frozenset[int]] = [first]
        self._numbers: dict[frozenset[int], int] = {first: 0}
        self._table: dict[tuple[int, str], int] = {}
        self._alphabet = frozenset().union(*(test for moves in self._moves for test, _ in moves if test is not None))
        self._steps = 0
        self._lock = threading.Lock()  # compiled patterns are kept and shared by all threads of a process

    def fullmatch(self, name: str) -> bool:
        """Whether the whole name matches. Raises FormatError `pattern` once the pattern's budget of steps is spent."""
        current = 0
        for letter in name:
            letter = letter if letter in self._alphabet else _OTHER  # so the work depends on the pattern alone
            following = self._table.get((current, letter))
            current = self._next(current, letter) if following is None else following
            if not self._sets[current]:
                return False
        return self._end in self._sets[current]

    def _next(self, current: int, letter: str) -> int:
        with self._lock:
            known = self._table.get((current, letter))  # another thread may have been here first
            return self._step(current, letter) if known is None else known

    def _step(self, current: int, letter: str) -> int:
        moved = {
            target
            for state in self._sets[current]
            for test, target in self._moves[state]
            if test is None or (letter in test if isinstance(test, frozenset) else letter == test)
        }
        reached = self._closure(moved)
        self._steps += len(self._sets[current]) + len(reached) + 1
        if self._steps > MAX_STEPS:
            self._refuse()
        number = self._numbers.setdefault(reached, len(self._sets))
        if number == len(self._sets):
            self._sets.append(reached)
        self._table[current, letter] = number
        return number

    def _closure(self, states: set[int]) -> frozenset[int]:
        stack = list(states)
        while stack:
            for target in self._free[stack.pop()]:
                if target not in states:
                    states.add(target)
                    stack.append(target)
        return frozenset(states)

    def _state(self) -> int:
        self._moves.append([])
        self._free.append([])
        return len(self._moves) - 1

    def _refuse(self) -> NoReturn:
        raise FormatError(
            "pattern",
            f"The module pattern {self.text[:80]!r} uses more than names, '.', '.*', '\\d', sets and plain groups; "
            "such patterns can run for ever. List the module names instead.",
        )

    def _alternatives(self, depth: int) -> tuple[int, int]:
        if depth > 8:
            self._refuse()
        start, end = self._state(), self._state()
        while True:
            first, last = self._sequence(depth)
            self._free[start].append(first)
            self._free[last].append(end)
            if self._body[self._position : self._position + 1] != "|":
                return start, end
            self._position += 1

    def _sequence(self, depth: int) -> tuple[int, int]:
        start = end = self._state()
        while self._position < len(self._body) and self._body[self._position] not in "|)":
            first, last = self._repeated(depth)
            self._free[end].append(first)
            end = last
        return start, end

    def _repeated(self, depth: int) -> tuple[int, int]:
        is_group = self._body[self._position] == "("
        first, last = self._atom(depth)
        mark = self._body[self._position : self._position + 1]
        if not mark or mark not in "?*+":
            return first, last
        if is_group and mark != "?":
            self._refuse()
        self._position += 1
        if self._body[self._position : self._position + 1] == "?":
            self._position += 1  # lazy or greedy is one and the same when only yes or no is asked
        start, end = self._state(), self._state()
        self._free[start].append(first)
        self._free[last].append(end)
        if mark in "?*":
            self._free[start].append(end)
        if mark in "*+":
            self._free[last].append(first)
        return start, end

    def _atom(self, depth: int) -> tuple[int, int]:
        letter = self._body[self._position]
        if letter == "(":
            self._position += 3 if self._body.startswith("(?:", self._position) else 1
            inner = self._alternatives(depth + 1)
            if self._body[self._position : self._position + 1] != ")":
                self._refuse()
            self._position += 1
            return inner
        test: _Test = letter
        width = 1
        if letter == ".":
            test = None
        elif letter == "\\":
            escaped = self._body[self._position + 1 : self._position + 2]
            if escaped not in _ESCAPES:
                self._refuse()
            test, width = _ESCAPES[escaped], 2
        elif letter == "[":
            match = _CLASS.match(self._body, self._position)
            if match is None:
                self._refuse()
            test, width = _letters(match.group(1)), len(match.group())
        elif not _LITERAL.fullmatch(letter):
            self._refuse()
        self._position += width
        start, end = self._state(), self._state()
        self._moves[start].append((test, end))
        return start, end


def _letters(text: str) -> frozenset[str]:
    result: set[str] = set()
    index = 0
    while index < len(text):
        if text[index + 1 : index + 2] == "-" and index + 2 < len(text):
            result.update(map(chr, range(ord(text[index]), ord(text[index + 2]) + 1)))
            index += 3
        else:
            result.add(text[index])
            index += 1
    return frozenset(result)


def dotted_ends(module: str) -> list[str]:
    """A module path and all its ends that begin after a dot."""
    return [module, *(module[index + 1 :] for index, letter in enumerate(module) if letter == ".")]


class PatternTable:
    """Names and patterns in order; finds the first that matches a module path or a dotted end of it.

    Plain names are looked up, so a table of thousands costs no more than its few real patterns.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._plain: dict[str, int] = {}
        self._patterns: list[tuple[int, str]] = []
        for order, text in enumerate(texts):
            if is_plain_name(text):
                self._plain[text] = order
            else:
                self._patterns.append((order, text))

    def first(self, module: str) -> str | None:
        """The earliest match, or None. Raises FormatError `pattern` once a pattern's budget of steps is spent."""
        named = [end for end in dotted_ends(module) if end in self._plain]
        best = min(named, key=self._plain.__getitem__, default=None)
        for order, text in self._patterns:
            if best is not None and order > self._plain[best]:
                break
            if compiled(text, dotted_end=True).fullmatch(module):
                return text
        return best


@lru_cache(maxsize=128)
def compiled(text: str, *, dotted_end: bool = False) -> NamePattern:
    """A pattern, kept for the next time the same text is asked for. Raises FormatError `pattern`."""
    return NamePattern(text, dotted_end=dotted_end)
