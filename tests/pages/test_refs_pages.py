"""Branches and tags in the browser: seen by readers, made and deleted by writers; the menu between revisions."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.repos import lifecycle
from hub.repos.models import Kind, Ref, Repo
from hub.wire.converters import ESCAPED_SLASH
from tests.markup import markup
from tests.people import PASSWORD, People, make_repo, put


def browser(name: str | None = None) -> Client:
    made = Client()
    assert name is None or made.login(username=name, password=PASSWORD)
    return made


def names(repo: Repo) -> set[str]:
    return set(Ref.objects.filter(repo=repo).values_list("name", flat=True))


@pytest.fixture
def repo(people: People) -> Repo:
    """Acme's, public, with a second commit."""
    made = make_repo(people.acme, "tongues", by=people.alice)
    for words in (b"# One", b"# Two"):
        put(people.bob, made, {"README.md": words})
    made.refresh_from_db()
    return made


def test_a_writer_makes_and_deletes_them_and_a_reader_sees_them(people: People, repo: Repo) -> None:
    page, bob, first = "/acme/tongues/refs", browser("bob"), repo.commits.get(parents=[])
    assert bob.post(page, {"type": "branch", "name": "feature/one", "revision": "main"})["Location"] == page
    assert bob.post(page, {"type": "tag", "name": "v1", "revision": first.short})["Location"] == page
    assert names(repo) == {"refs/heads/main", "refs/heads/feature/one", "refs/tags/v1"}
    assert Ref.objects.get(name="refs/tags/v1").target == first.sha
    for name in (None, "charlie"):
        shown = markup(browser(name).get(page))
        assert "/acme/tongues/tree/feature%2Fone" in shown and "v1" in shown and first.short in shown
        assert "New branch or tag" not in shown and "Delete" not in shown
        refused = browser(name).post(page, {"type": "tag", "name": "mine", "revision": "main"})
        gone = browser(name).post(page, {"action": "delete", "type": "tag", "name": "v1"})
        assert (refused.status_code, gone.status_code) == (302, 302)
    assert names(repo) == {"refs/heads/main", "refs/heads/feature/one", "refs/tags/v1"}
    shown = markup(bob.get(page))
    assert shown.count("Delete this branch") == 1 and shown.count("Delete this tag") == 1
    bob.post(page, {"action": "delete", "type": "branch", "name": "feature/one"})
    bob.post(page, {"action": "delete", "type": "tag", "name": "v1"})
    kept = bob.post(page, {"action": "delete", "type": "branch", "name": "main"}, follow=True)
    assert "The main branch cannot be removed." in markup(kept)
    again = bob.post(page, {"action": "delete", "type": "tag", "name": "v1"}, follow=True)
    assert "has no refs/tags/v1" in markup(again)
    assert names(repo) == {"refs/heads/main"}


@pytest.mark.parametrize(
    ("name", "revision", "field", "said"),
    [
        ("bad..name", "main", "name", "cannot be the name of a branch or tag"),
        ("taken", "main", "name", "exists already"),
        ("", "main", "name", "cannot be the name of a branch or tag"),
        ("fresh", "nowhere", "revision", "has no revision &#x27;nowhere&#x27;"),
        ("fre\x00sh..", "main\x00x", "revision", "has no revision"),
    ],
)
def test_what_cannot_be_made_is_said_beside_its_field_and_kept(
    people: People, repo: Repo, name: str, revision: str, field: str, said: str
) -> None:
    lifecycle.create_branch(actor=people.actor("bob"), repo=repo, name="taken")
    answer = browser("bob").post("/acme/tongues/refs", {"type": "branch", "name": name, "revision": revision})
    page = markup(answer)
    assert answer.status_code == 422
    beside = page.partition(f'id="{field}-error">')[2].partition("</p>")[0]
    assert said in beside
    assert f'value="{name}"' in page or "\x00" in name or not name
    assert names(repo) == {"refs/heads/main", "refs/heads/taken"}


def test_of_a_private_repo_strangers_see_nothing(people: People) -> None:
    task = make_repo(people.acme, "moods", by=people.alice, kind=Kind.TASK, private=True)
    put(people.alice, task, {"README.md": b"# Words"})
    page = "/datasets/acme/moods/refs"
    for name in (None, "charlie", "mary"):
        assert browser(name).get(page).status_code == 404
        assert browser(name).post(page, {"type": "tag", "name": "v1"}).status_code == 404
    assert browser("bob").post(page, {"type": "tag", "name": "v1"}).status_code == 302
    assert names(task) == {"refs/heads/main", "refs/tags/v1"}


def test_before_the_first_commit_there_is_nothing_to_name(people: People) -> None:
    make_repo(people.alice, "empty")
    shown = markup(browser("alice").get("/alice/empty/refs"))
    assert "nothing to name yet" in shown and "New branch or tag" not in shown


def test_files_and_commits_lead_to_other_revisions(people: People, repo: Repo) -> None:
    actor = people.actor("bob")
    put(people.bob, repo, {"notes/one.md": b"One"})
    lifecycle.create_branch(actor=actor, repo=repo, name="feature/one")
    lifecycle.create_tag(actor=actor, repo=repo, name="v1")
    files = markup(browser().get(f"/acme/tongues/tree/feature{ESCAPED_SLASH}one/notes"))
    menu = files.partition('class="menu menu-start"')[2].partition("</details>")[0]
    assert 'href="/acme/tongues/tree/feature%2Fone/notes" aria-current="true"' in menu
    assert 'href="/acme/tongues/tree/v1/notes"' in menu and "Revision feature/one, choose another" in menu
    assert menu.index(">main<") < menu.rindex(">feature/one<")
    commits = markup(browser().get("/acme/tongues/commits/v1"))
    menu = commits.partition('class="menu menu-start"')[2].partition("</details>")[0]
    assert 'href="/acme/tongues/commits/v1" aria-current="true"' in menu
    assert 'href="/acme/tongues/commits/main"' in menu
    repo.refresh_from_db()
    at = markup(browser().get(f"/acme/tongues/tree/{repo.head}"))
    assert f"Revision {repo.head[:7]}, choose another" in at
    for page in (files, commits):
        assert 'href="/acme/tongues/refs"' in page


@pytest.mark.parametrize("page", ["/acme/tongues/refs", "/acme/tongues/tree/main", "/acme/tongues/commits/main"])
def test_many_refs_cost_as_many_queries_as_few(people: People, repo: Repo, page: str) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert browser().get(page).status_code == 200
        return len(seen)

    lifecycle.create_tag(actor=people.actor("bob"), repo=repo, name="v0")
    few = count()
    for number in range(1, 12):
        lifecycle.create_tag(actor=people.actor("bob"), repo=repo, name=f"v{number}")
        lifecycle.create_branch(actor=people.actor("bob"), repo=repo, name=f"b{number}")
    assert count() == few
