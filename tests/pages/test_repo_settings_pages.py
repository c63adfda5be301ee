"""A repo's settings in the browser: renaming and giving away, visibility with the names it tells, deletion."""

import pytest
from django.test import Client

from adapters.models import Lineage, Relation
from hub.accounts.registration import register_organisation
from hub.repos.models import Kind, Repo
from tests.markup import markup
from tests.people import PASSWORD, People, make_repo, put
from tests.world import client


def browser(name: str | None = None) -> Client:
    made = Client()
    assert name is None or made.login(username=name, password=PASSWORD)
    return made


@pytest.fixture
def repo(people: People) -> Repo:
    made = make_repo(people.acme, "tongues", by=people.alice)
    put(people.bob, made, {"README.md": b"# Words"})
    made.refresh_from_db()
    return made


def beside(page: str, error: str) -> str:
    return page.partition(f'id="{error}">')[2].partition("</p>")[0]


def test_a_repo_is_renamed_and_given_away_and_its_old_address_leads_on(people: People, repo: Repo) -> None:
    alice, page = browser("alice"), "/acme/tongues/settings"
    offered = markup(alice.get(page)).partition('name="owner"')[2].partition("</select>")[0]
    assert "<option selected>acme</option><option>alice</option>" in offered
    moved = alice.post(page, {"action": "move", "owner": "acme", "name": "languages"}, follow=True)
    assert moved.redirect_chain == [("/acme/languages", 302)]
    assert "acme/tongues is acme/languages now." in markup(moved)
    given = alice.post("/acme/languages/settings", {"action": "move", "owner": "alice", "name": "languages"})
    assert given["Location"] == "/alice/languages"
    repo.refresh_from_db()
    assert repo.full_name == "alice/languages"
    for before in ("/acme/tongues", "/acme/languages"):
        led = browser("charlie").get(f"{before}/tree/main")
        assert (led.status_code, led["Location"]) == (307, "/alice/languages/tree/main")


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        ("acme", "taken", "acme/taken exists already."),
        ("acme", "not a name", "is not a usable name"),
        ("acme", "", "is not a usable name"),
        ("charlie", "tongues", "You may not create repos for charlie."),
        ("", "tongues", "You may not create repos for"),
    ],
)
def test_a_name_that_cannot_be_is_told_beside_the_field_and_kept(
    people: People, repo: Repo, owner: str, name: str, said: str
) -> None:
    make_repo(people.acme, "taken", by=people.alice)
    answer = browser("alice").post("/acme/tongues/settings", {"action": "move", "owner": owner, "name": name})
    page = markup(answer)
    assert answer.status_code == 422
    assert said in beside(page, "move-error")
    assert f'id="new-name" name="name" required maxlength="96" autocomplete="off" value="{name}"' in page
    repo.refresh_from_db()
    assert repo.full_name == "acme/tongues"


def test_only_who_administers_it_changes_a_repo(people: People, repo: Repo) -> None:
    """Bob may write for acme and administers nothing; Charlie reads; nobody reads too."""
    asked = [{"action": "move", "owner": "acme", "name": "mine"}, {"action": "delete", "name": "acme/tongues"},
             {"description": "mine", "private": "on"}]  # fmt: skip
    for name in (None, "bob", "charlie", "mary"):
        for fields in asked:
            assert browser(name).post("/acme/tongues/settings", fields).status_code == 302
            assert browser(name).get("/acme/tongues/settings").status_code == 302
    repo.refresh_from_db()
    assert (repo.full_name, repo.private, repo.description) == ("acme/tongues", False, "")
    Repo.objects.filter(pk=repo.pk).update(private=True)
    assert browser("charlie").post("/acme/tongues/settings", asked[0]).status_code == 404


def test_bob_takes_his_own_repo_to_the_team_and_then_no_longer_administers_it(people: People) -> None:
    put(people.bob, make_repo(people.bob, "own"), {"README.md": b"# Words"})
    register_organisation(name="others", members=["charlie"])
    bob = browser("bob")
    refused = bob.post("/bob/own/settings", {"action": "move", "owner": "others", "name": "own"})
    assert refused.status_code == 422
    moved = bob.post("/bob/own/settings", {"action": "move", "owner": "acme", "name": "own"}, follow=True)
    assert moved.status_code == 200 and "/acme/own/settings" not in markup(moved)
    assert browser("alice").get("/acme/own/settings").status_code == 200


def test_a_wrong_name_deletes_nothing(people: People, repo: Repo) -> None:
    alice = browser("alice")
    answer = alice.post("/acme/tongues/settings", {"action": "delete", "name": "tongues"})
    assert answer.status_code == 422 and "nothing was deleted" in beside(markup(answer), "delete-error")
    assert alice.post("/acme/tongues/settings", {"action": "delete", "name": "acme/tongues"})["Location"] == "/acme"
    assert not Repo.objects.filter(pk=repo.pk).exists()


@pytest.fixture
def secretive(people: People, repo: Repo) -> Repo:
    """The private repo of a team, taught on a private task of theirs."""
    Repo.objects.filter(pk=repo.pk).update(private=True)
    task = make_repo(people.acme, "secret-moods", by=people.alice, kind=Kind.TASK, private=True)
    Lineage.objects.create(child=repo, child_sha=repo.head, parent=task, relation=Relation.TAUGHT_ON)
    repo.refresh_from_db()
    return repo


def test_making_public_what_names_private_repos_needs_a_second_tick(people: People, secretive: Repo) -> None:
    alice, page = browser("alice"), "/acme/tongues/settings"
    shown = markup(alice.get(page))
    assert '/datasets/acme/secret-moods">acme/secret-moods</a>. Their content stays private.' in shown
    held = alice.post(page, {"description": "Typed with care"})
    told = markup(held)
    assert held.status_code == 422 and "Nothing was changed" in beside(told, "names-error")
    assert 'value="Typed with care"' in told
    secretive.refresh_from_db()
    assert (secretive.private, secretive.description) == (True, "")
    assert alice.post(page, {"description": "Kept", "private": "on"}).status_code == 302
    secretive.refresh_from_db()
    assert (secretive.private, secretive.description) == (True, "Kept")
    assert alice.post(page, {"description": "Kept", "names": "on"})["Location"] == page
    secretive.refresh_from_db()
    assert secretive.private is False
    assert "secret-moods" not in markup(alice.get(page)), "once it is public there is nothing to decide"


def test_what_tells_no_name_opens_with_one_tick(people: People, repo: Repo) -> None:
    Repo.objects.filter(pk=repo.pk).update(private=True)
    alice, page = browser("alice"), "/acme/tongues/settings"
    assert "Everybody may know these names" not in markup(alice.get(page))
    assert alice.post(page, {"description": ""}).status_code == 302
    repo.refresh_from_db()
    assert repo.private is False


def test_programs_open_it_without_the_tick_and_read_no_more_than_before(people: People, secretive: Repo) -> None:
    answer = client(people.alice).patch("/api/v1/repos/acme/tongues", {"private": False}, format="json")
    assert answer.status_code == 200 and answer.json()["private"] is False
    assert "secret-moods" not in markup(answer)
    Repo.objects.filter(pk=secretive.pk).update(private=True)
    wire = client(people.alice).put("/api/models/acme/tongues/settings", {"private": False}, format="json")
    assert wire.status_code == 200 and wire.json()["private"] is False
