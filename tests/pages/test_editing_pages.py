"""Writing, changing and removing files in the browser; proposing where one may not write."""

import pytest
from django.test import Client

from hub.repos import trees
from hub.repos.models import Repo
from hub.review.models import ChangeRequest
from tests.markup import markup
from tests.people import People, make_repo, put
from tests.world import client

CARD = b"---\nlicense: mit\n---\n# One\n"


@pytest.fixture
def repo(people: People) -> Repo:
    made = make_repo(people.acme, "x", by=people.alice)
    put(people.alice, made, {"README.md": CARD, "notes.txt": b"a"})
    return made


def sent(browser: Client, address: str, **more: str) -> dict[str, str]:
    """The form's hidden fields, as the page gave them, with what is typed on top."""
    context = browser.get(address).context
    return {name: context[name] for name in ("seen", "parent", "path")} | more


def text_at(repo: Repo, path: str = "README.md", revision: str = "main") -> str:
    return trees.get_file(repo, trees.resolve_commit(repo, revision), path).read().decode()


def test_a_writer_edits_the_card_and_sees_it(people: People, repo: Repo) -> None:
    bob = client(people.bob)
    assert "/acme/x/edit/main/README.md" in markup(bob.get("/acme/x"))
    address = "/acme/x/edit/main/README.md"
    shown = markup(bob.get(address))
    assert "# One" in shown
    answer = bob.post(address, sent(bob, address, text="---\r\nlicense: mit\r\n---\r\n# Two\r\n", message="Two"))
    assert answer["Location"] == "/acme/x/blob/main/README.md"
    assert text_at(repo) == "---\nlicense: mit\n---\n# Two\n"
    assert trees.resolve_commit(repo).author == people.bob


def test_a_stranger_proposes_the_same_edit(people: People, repo: Repo) -> None:
    charlie, address = client(people.charlie), "/acme/x/edit/main/README.md"
    page = charlie.get(address)
    assert "Propose this change" in markup(page)
    fields = sent(charlie, address, text="# Better\n", message="Better", description="It was short.", where="propose")
    answer = charlie.post(address, fields)
    row = ChangeRequest.objects.get(repo=repo)
    assert answer["Location"] == row.get_absolute_url()
    assert (row.title, row.author, row.state) == ("Better", people.charlie, "open")
    assert text_at(repo, revision=row.ref) == "# Better\n"
    assert text_at(repo) == CARD.decode()
    denied = charlie.post(address, fields | {"where": "commit"})
    assert denied.status_code == 422
    assert "You may not write acme/x" in markup(denied)
    own = f"/acme/x/edit/{row.ref.replace('/', '%2F')}/README.md"
    charlie.post(own, sent(charlie, own, text="# Best\n", message="Best"))
    assert text_at(repo, revision=row.ref) == "# Best\n"


def test_nothing_typed_is_lost_when_others_were_faster(people: People, repo: Repo) -> None:
    alice, address = client(people.alice), "/acme/x/edit/main/README.md"
    fields = sent(alice, address, text="# Mine\n", message="Mine")
    theirs = put(people.bob, repo, {"README.md": b"# Theirs\n"})
    answer = alice.post(address, fields)
    page = markup(answer)
    assert answer.status_code == 409
    assert "was changed while you had it open" in page
    assert "# Mine" in page
    assert f"/acme/x/blob/{theirs.sha}/README.md" in page
    again = {name: answer.context[name] for name in ("seen", "parent", "path")}
    assert alice.post(address, again | {"text": "# Both\n", "message": "Both"}).status_code == 302
    assert text_at(repo) == "# Both\n"


def test_a_file_that_is_gone_meanwhile_is_told_so_and_can_be_written_anew(people: People, repo: Repo) -> None:
    alice, address = client(people.alice), "/acme/x/edit/main/notes.txt"
    fields = sent(alice, address, text="mine", message="Mine")
    other = "/acme/x/remove/main/notes.txt"
    client(people.bob).post(other, sent(client(people.bob), other))
    answer = alice.post(address, fields)
    page = markup(answer)
    assert answer.status_code == 409
    assert "removed or renamed while you had it open" in page
    assert "Their version" not in page
    again = {name: answer.context[name] for name in ("seen", "parent", "path")}
    assert alice.post(address, again | {"text": "mine"}).status_code == 302
    assert text_at(repo, "notes.txt") == "mine"


def test_odd_letters_and_spaces_around_a_name_do_no_harm(people: People, repo: Repo) -> None:
    alice, address = client(people.alice), "/acme/x/new/main"
    fields = sent(alice, address, path=" docs/new.md ", text="hi", message="New\x00 file")
    assert alice.post(address, fields)["Location"] == "/acme/x/blob/main/docs/new.md"
    assert alice.get("/acme/x/blob/main/docs/new.md").status_code == 200
    assert trees.resolve_commit(repo).title == "New file"


def test_a_card_with_a_fault_comes_back_with_the_sentence(people: People, repo: Repo) -> None:
    alice, address = client(people.alice), "/acme/x/edit/main/README.md"
    bad = "---\nlicense: [\n---\n# Kept words\n"
    answer = alice.post(address, sent(alice, address, text=bad))
    assert answer.status_code == 422
    assert "not valid YAML" in markup(answer)
    assert "Kept words" in markup(answer)
    preview = markup(alice.post("/acme/x/preview", {"path": "README.md", "text": bad}))
    assert "not valid YAML" in preview
    shown = markup(alice.post("/acme/x/preview", {"path": "README.md", "text": CARD.decode()}))
    assert "<h2" in shown
    assert "license" not in shown


def test_a_new_card_begins_with_what_it_should_say(people: People) -> None:
    empty, alice = make_repo(people.alice, "empty"), client(people.alice)
    assert "/alice/empty/new/main?path=README.md" in markup(alice.get("/alice/empty"))
    address = "/alice/empty/new/main?path=README.md"
    page = alice.get(address)
    assert "license:" in page.context["text"]
    alice.post(address, sent(alice, address, text="# E\n", message=""))
    empty.refresh_from_db()
    assert text_at(empty) == "# E\n"
    assert trees.resolve_commit(empty).title == "Change README.md"


def test_a_file_is_removed_and_stays_in_history(people: People, repo: Repo) -> None:
    alice, address = client(people.alice), "/acme/x/remove/main/notes.txt"
    before = trees.resolve_commit(repo).sha
    assert "Remove" in markup(alice.get(address))
    assert alice.post(address, sent(alice, address))["Location"] == "/acme/x/tree/main"
    assert alice.get("/acme/x/blob/main/notes.txt").status_code == 404
    assert text_at(repo, "notes.txt", before) == "a"


def test_who_may_not_read_sees_nothing_and_who_is_unknown_signs_in(people: People, repo: Repo) -> None:
    Repo.objects.filter(pk=repo.pk).update(private=True)
    pages = ("edit/main/README.md", "remove/main/README.md", "new/main")
    for page in pages:
        assert client(people.charlie).get(f"/acme/x/{page}").status_code == 404
        assert client(people.charlie).post(f"/acme/x/{page}", {"text": "x"}).status_code == 404
        assert Client().get(f"/acme/x/{page}")["Location"].startswith("/accounts/login/")
    assert client(people.charlie).post("/acme/x/preview", {"text": "x"}).status_code == 404
    assert text_at(repo) == CARD.decode()


def test_weights_tags_and_old_revisions_are_not_offered_for_editing(people: People, repo: Repo) -> None:
    alice, sha = client(people.alice), trees.resolve_commit(repo).sha
    assert "/edit/" in markup(alice.get("/acme/x/blob/main/notes.txt"))
    assert "/edit/" not in markup(alice.get(f"/acme/x/blob/{sha}/notes.txt"))
    assert "/edit/" not in markup(Client().get("/acme/x/blob/main/notes.txt"))
    put(people.alice, repo, {"odd.txt": b"\xff\xfe"})
    answer = alice.get("/acme/x/edit/main/odd.txt", follow=True)
    assert "not text in UTF-8" in markup(answer)
