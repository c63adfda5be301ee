"""Diffs of texts: as difflib writes them, and never more work than one comparison may take."""

import difflib
import random

import pytest

from hub.repos.lines import STEPS, TooLong, Work, hunks

WORDS = [f"{chr(97 + n % 26)}{n // 26}" for n in range(132)]


def text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def repeated(seed: int, count: int) -> list[str]:
    """Lines of 132 kinds: none is so common that difflib would leave it out."""
    rng = random.Random(seed)
    return [rng.choice(WORDS) for _ in range(count)]


def plain(before: bytes, after: bytes, keepends: bool) -> list[str]:
    old, new = (side.decode().splitlines(keepends) for side in (before, after))
    return list(difflib.unified_diff(old, new, lineterm="\n" if keepends else ""))[2:]


@pytest.mark.parametrize("keepends", [False, True])
def test_usual_texts_are_told_as_difflib_does(keepends: bool) -> None:
    rng = random.Random(3)
    for _ in range(60):
        old = [rng.choice(["", "a", "  return", f"line {rng.random()}"]) for _ in range(rng.choice([0, 1, 5, 60, 400]))]
        new = list(old)
        for _ in range(rng.randrange(6)):
            place = rng.randrange(len(new) + 1)
            new[place : place + rng.randrange(4)] = [f"new {n}\r" for n in range(rng.randrange(4))]
        before, after = text(old), text(new)[: rng.choice([None, -1])]
        assert hunks(before, after, Work(), keepends=keepends) == plain(before, after, keepends)


def test_work_has_a_bound() -> None:
    for count in (20_000, 80_000):
        work = Work()
        with pytest.raises(TooLong):
            hunks(text(repeated(1, count)), text(repeated(2, count)), work)
        assert work.left >= STEPS // 2


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", "\x85"])
def test_lines_that_are_only_read_count_too(end: str) -> None:
    work = Work(80_000)
    with pytest.raises(TooLong):
        hunks(b"", (end * 6_000).encode(), work)
    assert work.left == 80_000  # refused before they were split off


def test_a_long_text_does_not_hide_the_next() -> None:
    work, long = Work(), text(repeated(1, 20_000))
    for seed in range(2, 8):
        with pytest.raises(TooLong):
            hunks(long, text(repeated(seed, 20_000)), work)
    assert hunks(b"a\nb\n", b"a\nc\n", work) == ["@@ -1,2 +1,2 @@", " a", "-b", "+c"]


@pytest.mark.parametrize("place", [0, 1, 50_000, 79_999])
def test_one_line_of_a_long_text_of_repeated_lines(place: int) -> None:
    old = repeated(1, 80_000)
    new = [*old[:place], "new", *old[place + 1 :]]
    first = max(0, place - 3)
    context = [f" {line}" for line in old[first:place]]
    said = hunks(text(old), text(new), Work())
    assert said[0].startswith(f"@@ -{first + 1},")
    assert said[1:] == [*context, f"-{old[place]}", "+new", *(f" {line}" for line in old[place + 1 : place + 4])]
