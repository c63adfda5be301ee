"""Me, accounts, organisations, members and tokens over the REST API."""

from rest_framework.test import APIClient

from hub.accounts.models import Membership, Token
from tests.api.test_api_repos import API, get, post
from tests.people import People
from tests.world import browser, client


def test_me(people: People) -> None:
    me = get(client(people.alice, "read"), "/me")
    assert (me["name"], me["email"], me["token"]["scope"]) == ("alice", "alice@example.org", "read")
    assert me["organisations"] == [{"name": "acme", "role": "admin"}]
    assert get(browser(people.alice), "/me")["token"] is None
    dead = APIClient()
    dead.credentials(HTTP_AUTHORIZATION="Bearer hf_nonsense")
    answer = dead.get(f"{API}/repos")
    assert answer.status_code == 401
    assert "token" in answer.json()["error"]


def test_profiles(people: People) -> None:
    assert "email" not in get(client(), "/accounts/ALICE")
    get(client(), "/accounts/nobody-here", 404)
    changed = client(people.alice).patch(f"{API}/accounts/acme", {"bio": "We make tools"}, format="json")
    assert changed.json()["bio"] == "We make tools"
    assert client(people.bob).patch(f"{API}/accounts/acme", {"bio": "x"}, format="json").status_code == 403
    assert (
        client(people.alice).patch(f"{API}/accounts/alice", {"website": "javascript:1"}, format="json").status_code
        == 400
    )


def test_organisations_and_members(people: People) -> None:
    made = post(client(people.charlie), "/organisations", {"name": "Lab", "display_name": "The Lab"})
    assert made["kind"] == "organisation"
    post(client(people.charlie), "/organisations", {"name": "ALICE"}, 422)
    post(client(people.charlie), "/organisations", {"name": "api"}, 422)
    charlie = browser(people.charlie)
    added = charlie.put(f"{API}/accounts/lab/members/bob", {"role": "write"}, format="json")
    assert (added.status_code, added.json()["role"]) == (200, "write")
    post(client(people.bob), "/repos", {"name": "shared", "owner": "lab", "private": True})
    assert browser(people.bob).put(f"{API}/accounts/lab/members/alice", {}, format="json").status_code == 403
    assert browser(people.bob).delete(f"{API}/accounts/lab/members/charlie").status_code == 403
    last = charlie.delete(f"{API}/accounts/lab/members/charlie")
    assert (last.status_code, last.json()["code"]) == (409, "membership")
    assert charlie.put(f"{API}/accounts/lab/members/charlie", {"role": "read"}, format="json").status_code == 409
    assert charlie.put(f"{API}/accounts/lab/members/acme", {}, format="json").status_code == 409
    assert [row["name"] for row in get(client(), "/accounts/lab/members")["results"]] == ["bob", "charlie"]
    assert browser(people.bob).delete(f"{API}/accounts/lab/members/bob").status_code == 204
    get(client(people.bob), "/repos/lab/shared", 404)
    assert Membership.objects.filter(organisation__name="Lab").count() == 1


def test_tokens(people: People) -> None:
    alice = browser(people.alice)
    made = post(alice, "/tokens", {"label": "ci", "scope": "write", "repos": ["alice/X"]})
    assert made["text"].startswith("hf_")
    listed = get(alice, "/tokens")["results"]
    assert [(row["label"], row["repos"]) for row in listed] == [("ci", ["alice/x"])]
    assert "text" not in listed[0]
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {made['text']}")
    assert program.get(f"{API}/me").status_code == 200
    assert browser(people.bob).delete(f"{API}/tokens/{made['id']}").status_code == 404
    assert alice.delete(f"{API}/tokens/{made['id']}").status_code == 204
    assert program.get(f"{API}/me").status_code == 401
    post(alice, "/tokens", {"label": "x", "repos": ["no slash"]}, 400)


def test_a_session_needs_its_csrf_token(people: People) -> None:
    alice = browser(people.alice)
    alice.credentials()
    answer = alice.post(f"{API}/tokens", {"label": "forged"}, format="json")
    assert answer.status_code == 403
    assert not Token.objects.filter(label="forged").exists()
