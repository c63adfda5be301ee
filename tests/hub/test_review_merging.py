"""Two sides of a change request become one: files by path, texts by lines, the rest by somebody's word."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.repos import trees
from hub.repos.changes import Delete, Inline
from hub.repos.commits import commit
from hub.repos.models import Repo
from hub.review import change_requests, merging
from hub.review.models import ChangeRequest, State
from hub.review.refusals import MergeConflict
from hub.review.updating import bring_up_to_date
from tests.people import People, make_repo, put

CARD = b"---\nlicense: mit\n---\n# One\n\nWhat it does.\n\n## Data\n\nSome.\n"


@pytest.fixture
def repo(people: People) -> Repo:
    made = make_repo(people.charlie, "x")
    put(people.charlie, made, {"README.md": CARD, "config.json": b'{\n"a": 1,\n"x": 0,\n"y": 0,\n"b": 1\n}'})
    return made


def proposed(people: People, repo: Repo, files: dict[str, bytes]) -> ChangeRequest:
    row = change_requests.open_change_request(actor=people.actor("bob"), repo=repo, title="Better")
    put(people.bob, repo, files, branch=row.ref)
    return row


def read(repo: Repo, path: str, revision: str = "main") -> bytes:
    return trees.get_file(repo, trees.resolve_commit(repo, revision), path).read()


def test_changes_to_different_lines_of_a_card_both_arrive(people: People, repo: Repo) -> None:
    row = proposed(people, repo, {"README.md": CARD.replace(b"What it does.", b"What it does, well.")})
    put(people.charlie, repo, {"README.md": CARD.replace(b"Some.", b"All of it.")})
    assert merging.conflicts(row) == []
    change_requests.merge(actor=people.actor("charlie"), request=row)
    both = CARD.replace(b"What it does.", b"What it does, well.").replace(b"Some.", b"All of it.")
    assert read(repo, "README.md") == both


def test_what_meets_or_is_no_prose_is_left_to_somebody(people: People, repo: Repo) -> None:
    row = proposed(people, repo, {"README.md": CARD.replace(b"Some.", b"Mine."), "config.json": b'{"a": 2}'})
    put(people.charlie, repo, {"README.md": CARD.replace(b"Some.", b"Yours."), "config.json": b'{"b": 2}'})
    assert merging.conflicts(row) == ["README.md", "config.json"]
    with pytest.raises(MergeConflict, match=r"README\.md, config\.json"):
        change_requests.merge(actor=people.actor("charlie"), request=row)
    assert b"Yours." in read(repo, "README.md")


def test_json_is_not_merged_by_lines(people: People, repo: Repo) -> None:
    before = read(repo, "config.json")
    row = proposed(people, repo, {"config.json": before.replace(b'"a": 1', b'"a": 2')})
    put(people.charlie, repo, {"config.json": before.replace(b'"b": 1', b'"b": 2')})
    assert merging.conflicts(row) == ["config.json"]


def test_two_good_cards_that_together_cannot_be_read_are_a_conflict(people: People, repo: Repo) -> None:
    front = b"---\nlanguage: en\nlicense: mit\nmetrics: accuracy\n---\n# One\n"
    put(people.charlie, repo, {"README.md": front})
    row = proposed(people, repo, {"README.md": front.replace(b"---\nlang", b"---\ntags: a\nlang")})
    put(people.charlie, repo, {"README.md": front.replace(b"accuracy\n", b"accuracy\ntags: b\n")})
    assert merging.conflicts(row) == ["README.md"]


def test_only_line_feeds_end_lines(people: People, repo: Repo) -> None:
    put(people.charlie, repo, {"a.txt": "one\u2028still one\n".encode()})
    row = proposed(people, repo, {"a.txt": "two\u2028still two\n".encode()})
    put(people.charlie, repo, {"a.txt": "three\u2028still three\n".encode()})
    [side] = merging.conflicting(row, trees.resolve_commit(repo, "main"), trees.resolve_commit(repo, row.ref))
    assert side.text is not None
    assert "three\u2028still three\n=======\ntwo\u2028still two\n" in side.text


def test_somebody_decides_in_the_marked_text_and_then_it_merges(people: People, repo: Repo) -> None:
    row = proposed(people, repo, {"README.md": CARD.replace(b"Some.", b"Mine.")})
    put(people.charlie, repo, {"README.md": CARD.replace(b"Some.", b"Yours.")})
    ours, theirs = trees.resolve_commit(repo, "main"), trees.resolve_commit(repo, row.ref)
    [side] = merging.conflicting(row, ours, theirs)
    assert side.text is not None
    assert "<<<<<<< main\nYours.\n=======\nMine.\n>>>>>>> change request 1\n" in side.text
    assert merging.has_markers(side.text)
    decided = CARD.replace(b"Some.", b"Both.")
    bring_up_to_date(
        actor=people.actor("bob"), request=row, ours=ours.sha, theirs=theirs.sha,
        resolved={"README.md": Inline(decided)}, message="Decide",
    )  # fmt: skip
    row.refresh_from_db()
    assert merging.conflicts(row) == []
    change_requests.merge(actor=people.actor("charlie"), request=row)
    row.refresh_from_db()
    assert (row.state, read(repo, "README.md")) == (State.MERGED, decided)


def test_a_file_that_one_side_removed_is_told_so(people: People, repo: Repo) -> None:
    row = proposed(people, repo, {"config.json": b"{}"})
    commit(actor=people.actor("charlie"), repo=repo, changes_=[Delete("config.json")], message="Gone")
    [side] = merging.conflicting(row, trees.resolve_commit(repo, "main"), trees.resolve_commit(repo, row.ref))
    assert (side.path, side.ours, side.theirs, side.text) == ("config.json", False, True, None)


EDITS = st.dictionaries(st.integers(0, 9), st.sampled_from(["replace", "remove", "insert"]), max_size=4)


def edited(lines: list[str], edits: dict[int, str], name: str) -> list[str]:
    """Some of the lines replaced, removed, or with a line of one's own before them."""
    made = []
    for number, line in enumerate(lines):
        what = edits.get(number)
        made += [f"{name} {number}\n"] if what in ("replace", "insert") else []
        made += [] if what in ("replace", "remove") else [line]
    return made


@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mine=EDITS, yours=EDITS)
def test_what_merges_by_lines_is_what_git_makes_of_it(
    tmp_path: Path, mine: dict[int, str], yours: dict[int, str]
) -> None:
    """Git sees conflicts in more places, where changes touch; wherever it sees none we make the same text."""
    base = [f"line {number}\n" for number in range(10)]
    texts = base, edited(base, mine, "mine"), edited(base, yours, "yours")
    for name, lines in zip(("base", "mine", "yours"), texts, strict=True):
        (tmp_path / name).write_text("".join(lines))
    run = ["git", "merge-file", "-p", str(tmp_path / "mine"), str(tmp_path / "base"), str(tmp_path / "yours")]
    made = subprocess.run(run, capture_output=True, text=True, check=False)
    ours = merging.by_lines(*texts)
    assert made.returncode != 0 or ours == made.stdout
