""".gitattributes: which files a repo itself wants kept by LFS, so that clones by git agree with what is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

MAX_BYTES, MAX_RULES = 64 * 1024, 500
NAME = ".gitattributes"


@dataclass(frozen=True)
class Rule:
    """Files of a pattern are (or are no longer) kept by LFS."""

    pattern: str
    lfs: bool

    def matches(self, path: str) -> bool:
        """As git matches: a pattern without a slash is for names in any folder, others are for paths from the top."""
        if "/" not in self.pattern.rstrip("/"):
            return fnmatchcase(path.rpartition("/")[2], self.pattern)
        pattern = self.pattern.lstrip("/")
        if "**" in pattern:
            return fnmatchcase(path, pattern.replace("**/", "*").replace("**", "*"))
        wanted, parts = pattern.split("/"), path.split("/")
        return len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))


@dataclass(frozen=True)
class Attributes:
    """The rules of one .gitattributes file; the last that matches counts."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Attributes:
        """What can be read of a file; a broken line is no rule, as for git."""
        lines = data[:MAX_BYTES].decode(errors="replace").splitlines()
        return cls(tuple(_rules(lines))[:MAX_RULES])

    def keeps_by_lfs(self, path: str) -> bool:
        """Does the repo want this file kept by LFS, whatever its size?"""
        return next((rule.lfs for rule in reversed(self.rules) if rule.matches(path)), False)


def _rules(lines: Iterable[str]) -> Iterable[Rule]:
    for line in lines:
        pattern, *words = line.split() or [""]
        if not pattern or pattern.startswith(("#", "[", '"', "!")) or len(pattern) > 255:
            continue
        for word in words:
            if word == "filter=lfs":
                yield Rule(pattern, True)
            elif word in ("-filter", "!filter") or word.startswith("filter="):
                yield Rule(pattern, False)
