"""A conflict of a change request is decided in the browser."""

import pytest

from hub.repos import trees
from hub.repos.models import Repo
from hub.review import change_requests, merging
from hub.review.models import ChangeRequest
from tests.markup import markup
from tests.people import People, make_repo, put
from tests.world import client


@pytest.fixture
def row(people: People) -> ChangeRequest:
    """Bob's and Charlie's words for the same line, and for a file that is no prose."""
    repo = make_repo(people.charlie, "x")
    put(people.charlie, repo, {"README.md": b"# One\nSome.\n", "config.json": b"{}"})
    made = change_requests.open_change_request(actor=people.actor("bob"), repo=repo, title="Better")
    put(people.bob, repo, {"README.md": b"# One\nMine.\n", "config.json": b'{"a": 1}'}, branch=made.ref)
    put(people.charlie, repo, {"README.md": b"# One\nYours.\n", "config.json": b'{"b": 1}'})
    return made


def sent(row: ChangeRequest, **fields: str) -> dict[str, str]:
    """What the form sends for the heads of now; `readme` and `config` are what is taken, `text` the text of README."""
    names = {"readme": "take:README.md", "config": "take:config.json", "text": "text:README.md"}
    heads = {side: trees.resolve_commit(row.repo, ref).sha for side, ref in (("ours", row.target), ("theirs", row.ref))}
    return heads | {names[name]: value for name, value in fields.items()}


def read(repo: Repo, path: str, revision: str) -> bytes:
    return trees.get_file(repo, trees.resolve_commit(repo, revision), path).read()


def test_its_author_decides_both_files(people: People, row: ChangeRequest) -> None:
    bob, url = client(people.bob), row.get_absolute_url()
    assert f"{url}/resolve" in markup(bob.get(url))
    shown = bob.get(f"{url}/resolve").content.decode()
    assert "&lt;&lt;&lt;&lt;&lt;&lt;&lt; main\nYours.\n=======\nMine." in shown
    undecided = bob.post(f"{url}/resolve", sent(row, text="# One\n<<<<<<< main\n", readme="text", config="ours"))
    assert undecided.status_code == 422
    assert "still has lines" in markup(undecided)
    missing = bob.post(f"{url}/resolve", sent(row, text="# One\r\nBoth.\r\n", readme="text"))
    assert missing.status_code == 422
    assert "Choose a version of config.json." in markup(missing)
    assert "Both." in markup(missing)
    answer = bob.post(f"{url}/resolve", sent(row, text="# One\r\nBoth.\r\n", readme="text", config="theirs"))
    assert answer["Location"] == url
    row.refresh_from_db()
    assert merging.conflicts(row) == []
    assert read(row.repo, "README.md", row.ref) == b"# One\nBoth.\n"
    assert read(row.repo, "config.json", row.ref) == b'{"a": 1}'
    assert read(row.repo, "README.md", "main") == b"# One\nYours.\n"


def test_a_head_that_moved_meanwhile_is_shown_and_what_was_typed_stays(people: People, row: ChangeRequest) -> None:
    bob, url = client(people.bob), f"{row.get_absolute_url()}/resolve"
    fields = sent(row, readme="text", text="# One\nTyped.\n", config="theirs")
    newer = put(people.charlie, row.repo, {"README.md": b"# One\nNewer.\n"})
    answer = bob.post(url, fields)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "new commits since" in page
    assert "Typed." in page
    assert f'name="ours" value="{newer.sha}"' in page
    assert read(row.repo, "README.md", row.ref) == b"# One\nMine.\n"
    again = sent(row, readme="text", text="# One\nTyped.\n", config="theirs")
    assert bob.post(url, again)["Location"] == row.get_absolute_url()


def test_ends_of_lines_stay_as_the_target_has_them(people: People) -> None:
    repo = make_repo(people.charlie, "crlf")
    put(people.charlie, repo, {"a.txt": b"one\r\n"})
    made = change_requests.open_change_request(actor=people.actor("bob"), repo=repo, title="Better")
    put(people.bob, repo, {"a.txt": b"two\r\n"}, branch=made.ref)
    put(people.charlie, repo, {"a.txt": b"three\r\n"})
    fields = sent(made) | {"take:a.txt": "text", "text:a.txt": "four\r\n"}
    assert client(people.bob).post(f"{made.get_absolute_url()}/resolve", fields).status_code == 302
    assert read(repo, "a.txt", made.ref) == b"four\r\n"


def test_others_are_led_back_and_strangers_see_nothing(people: People, row: ChangeRequest) -> None:
    url = row.get_absolute_url()
    assert client(people.alice).get(f"{url}/resolve")["Location"] == url
    Repo.objects.filter(pk=row.repo_id).update(private=True)
    assert client(people.alice).get(f"{url}/resolve").status_code == 404
