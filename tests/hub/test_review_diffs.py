"""The diff of two commits."""

import random

from hub.repos import trees
from hub.repos.lines import TOO_LONG
from hub.review.diffs import unified
from tests.people import People, make_repo, put


def repeated(seed: int) -> bytes:
    """60,000 lines of 132 kinds: each has hundreds of places in another such text."""
    rng = random.Random(seed)
    return "".join(f"{rng.randrange(132)}\n" for _ in range(60_000)).encode()


def test_texts_of_repeated_lines_are_named_only(people: People) -> None:
    """Anybody may ask for the diff of a public repo: it must not be possible to keep the hub busy with it."""
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": repeated(1), "b.txt": b"one\r\ntwo", "c.txt": b"c\n"})
    before = trees.resolve_commit(repo)
    put(people.alice, repo, {"a.txt": repeated(2), "b.txt": b"one\r\nTwo"})
    assert unified(repo, before, trees.resolve_commit(repo)) == (
        f"diff --git a/a.txt b/a.txt\nFiles a/a.txt and b/a.txt differ, {TOO_LONG}\n"
        "diff --git a/b.txt b/b.txt\n--- a/b.txt\n+++ b/b.txt\n@@ -1,2 +1,2 @@\n one\r\n"
        "-two\n\\ No newline at end of file\n+Two\n\\ No newline at end of file\n"
    )
