"""Files changed by hand: what was opened, what others did meanwhile, and what is committed."""

import pytest

from hub.repos import editing, trees
from hub.repos.changes import Delete
from hub.repos.commits import BadChange, commit
from hub.repos.editing import ChangedMeanwhile, Edit, NotText, save
from hub.repos.models import Repo
from hub.repos.policy import Refused
from hub.rights import Denied
from tests.people import People, make_repo, put


@pytest.fixture
def repo(people: People) -> Repo:
    made = make_repo(people.acme, "x", by=people.alice)
    put(people.alice, made, {"README.md": b"# One\n", "notes.txt": b"a\r\nb\r\n"})
    return made


def opened(repo: Repo, path: str, text: str | None, *, renamed: str = "") -> Edit:
    """An edit of the file as it is now."""
    seen = editing.git_id(repo, trees.resolve_commit(repo), path)
    return Edit(path=renamed or path, text=text, opened=path, seen=seen)


def bytes_at(repo: Repo, path: str) -> bytes:
    return trees.get_file(repo, trees.resolve_commit(repo), path).read()


def test_an_edit_goes_on_top_of_what_others_did_to_other_files(people: People, repo: Repo) -> None:
    mine = opened(repo, "README.md", "# Two\r\n")
    put(people.bob, repo, {"other.txt": b"meanwhile"})
    save(actor=people.actor("alice"), repo=repo, branch="main", edit=mine, message="Two")
    assert bytes_at(repo, "README.md") == b"# Two\n"
    assert bytes_at(repo, "other.txt") == b"meanwhile"


def test_a_file_that_others_changed_meanwhile_is_not_overwritten_unseen(people: People, repo: Repo) -> None:
    mine = opened(repo, "README.md", "# Mine\n")
    theirs = put(people.bob, repo, {"README.md": b"# Theirs\n"})
    with pytest.raises(ChangedMeanwhile, match="“Add README.md” by bob") as caught:
        save(actor=people.actor("alice"), repo=repo, branch="main", edit=mine, message="Mine")
    assert caught.value.head == theirs.sha
    assert bytes_at(repo, "README.md") == b"# Theirs\n"
    again = opened(repo, "README.md", "# Both\n")
    save(actor=people.actor("alice"), repo=repo, branch="main", edit=again, message="Both")
    assert bytes_at(repo, "README.md") == b"# Both\n"


def test_a_file_that_others_removed_is_not_made_anew_unseen(people: People, repo: Repo) -> None:
    mine = opened(repo, "notes.txt", "mine")
    commit(actor=people.actor("bob"), repo=repo, changes_=[Delete("notes.txt")], message="Gone")
    with pytest.raises(ChangedMeanwhile, match="removed or renamed while you had it open"):
        save(actor=people.actor("alice"), repo=repo, branch="main", edit=mine, message="Mine")


def test_ends_of_lines_stay_as_they_were(people: People, repo: Repo) -> None:
    edit = opened(repo, "notes.txt", "a\r\nb\r\nc\r\n")
    save(actor=people.actor("alice"), repo=repo, branch="main", edit=edit, message="c")
    assert bytes_at(repo, "notes.txt") == b"a\r\nb\r\nc\r\n"
    put(people.alice, repo, {".gitattributes": b"notes.txt filter=lfs -text", "notes.txt": b"x\r\n"})
    edit = opened(repo, "notes.txt", "y\r\n")
    save(actor=people.actor("alice"), repo=repo, branch="main", edit=edit, message="y")
    assert bytes_at(repo, "notes.txt") == b"y\r\n"


def test_files_are_made_renamed_and_removed(people: People, repo: Repo) -> None:
    actor = people.actor("bob")
    save(actor=actor, repo=repo, branch="main", edit=Edit(path="docs/new.md", text="hi"), message="New")
    save(
        actor=actor,
        repo=repo,
        branch="main",
        edit=opened(repo, "docs/new.md", "hi", renamed="docs/old.md"),
        message="M",
    )
    save(actor=actor, repo=repo, branch="main", edit=opened(repo, "notes.txt", None), message="Gone")
    assert set(trees.list_files(repo, trees.resolve_commit(repo))) == {"README.md", "docs/old.md"}
    with pytest.raises(BadChange, match="There is a file README.md already"):
        save(actor=actor, repo=repo, branch="main", edit=Edit(path="README.md", text="x"), message="Twice")
    with pytest.raises(BadChange, match="There is a file README.md already"):
        save(
            actor=actor, repo=repo, branch="main", message="Over",
            edit=opened(repo, "docs/old.md", "hi", renamed="README.md"),
        )  # fmt: skip


def test_the_first_file_of_a_repo_can_be_written(people: People) -> None:
    empty = make_repo(people.alice, "empty")
    save(actor=people.actor("alice"), repo=empty, branch="main", edit=Edit(path="README.md", text="# E"), message="E")
    assert bytes_at(empty, "README.md") == b"# E"


def test_the_usual_rules_and_rights_hold(people: People, repo: Repo) -> None:
    with pytest.raises(Denied):
        save(
            actor=people.actor("charlie"), repo=repo, branch="main", edit=Edit(path="a.md", text=""), message="a"
        )  # fmt: skip
    for path in ("run.py", "../up.md", "a//b.md", ""):
        with pytest.raises(Refused):
            save(actor=people.actor("alice"), repo=repo, branch="main", edit=Edit(path=path, text="a"), message="a")
    with pytest.raises(Refused, match="closing '---'"):
        save(
            actor=people.actor("alice"), repo=repo, branch="main", message="bad",
            edit=opened(repo, "README.md", "---\nlicense: mit\n"),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "said"), [(b"\xff\xfea", "UTF-8"), (b"a" * 200_000 + b"\0", "not text"), (b"a" * 300_001, "300 kB")]
)
def test_what_is_not_text_is_not_opened(people: People, repo: Repo, data: bytes, said: str) -> None:
    head = put(people.alice, repo, {"odd.txt": data})
    with pytest.raises(NotText, match=said):
        editing.text_of(trees.get_file(repo, head, "odd.txt"))
