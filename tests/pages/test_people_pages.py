"""Organisations and passwords, as people change them in a browser."""

from django.test import Client

from hub.accounts.models import Account, Membership, Scope
from hub.accounts.tokens import create_token, find_token
from tests.markup import markup
from tests.people import PASSWORD, People, make_repo, put
from tests.world import client


def signed_in(name: str) -> Client:
    made = Client()
    assert made.login(username=name, password=PASSWORD)
    return made


def test_an_empty_repo_says_how_it_is_filled(people: People) -> None:
    alice = signed_in("alice")
    refused = markup(alice.post("/new", {"name": "no name", "kind": "task"}))
    assert refused.count("is not a usable name") == 1
    assert alice.post("/new", {"name": "moods", "kind": "task"})["Location"] == "/datasets/alice/moods/upload"
    assert "A task is train and test splits" in markup(alice.get("/datasets/alice/moods/upload"))
    page = markup(alice.get("/datasets/alice/moods"))
    assert "hf upload alice/moods ./moods --repo-type dataset" in page
    assert "Teach a specialist" not in page.partition("</header>")[2].partition("</header>")[0]
    assert "hf upload" not in markup(signed_in("bob").get("/datasets/alice/moods"))


def test_a_question_needs_no_files_and_waits_in_the_owners_head(people: People) -> None:
    repo = make_repo(people.alice, "reader")
    put(people.alice, repo, {"README.md": b"Reads.\n"})
    alice, bob = signed_in("alice"), signed_in("bob")
    assert "unread notice" not in markup(alice.get("/"))
    page = "/alice/reader/discussions"
    answer = bob.post(f"{page}/new", {"title": "Which texts?", "description": "German too?"})
    assert "1 unread notice" in markup(alice.get("/"))
    asked = markup(alice.get(answer["Location"]))
    assert "German too?" in asked and "nothing is proposed" in asked
    assert "What changes" not in asked and 'value="merge"' not in asked
    assert "Sign" in (stranger := markup(Client().get(answer["Location"]))) and "in to comment" in stranger


def test_a_profile_leads_whoever_manages_it_to_its_settings(people: People) -> None:
    assert "/settings/organisations/acme" in markup(signed_in("alice").get("/acme"))
    assert "/settings/organisations/acme" not in markup(signed_in("bob").get("/acme"))
    assert "Edit profile" in markup(signed_in("bob").get("/bob"))
    assert "Edit profile" not in markup(signed_in("bob").get("/alice"))


def role(organisation: str, person: str) -> str | None:
    return Membership.objects.filter(organisation__name=organisation, member__name=person).values_list(
        "role", flat=True
    ).first()  # fmt: skip


def test_an_organisation_is_made_filled_and_left(people: People) -> None:
    charlie = signed_in("charlie")
    answer = charlie.post("/settings/organisations", {"name": "Lab", "display_name": "The Lab"})
    assert answer["Location"] == "/settings/organisations/Lab"
    assert role("Lab", "charlie") == "admin"
    page = "/settings/organisations/lab"
    assert charlie.post(page, {"action": "set", "member": "bob", "role": "write"}).status_code == 302
    assert role("Lab", "bob") == "write"
    bob = signed_in("bob")
    shown = markup(bob.get(page))
    assert "Leave" in shown
    assert "Add a member" not in shown
    assert bob.post(page, {"action": "remove", "member": "charlie"}).status_code == 422
    assert bob.post(page, {"action": "remove", "member": "bob"})["Location"] == "/settings/organisations"
    assert role("Lab", "bob") is None


def test_what_cannot_be_done_is_said_and_changes_nothing(people: People) -> None:
    alice = signed_in("alice")
    for name, said in (("BOB", "taken"), ("api", "address of this site"), ("a b", "not a usable name")):
        answer = alice.post("/settings/organisations", {"name": name})
        assert answer.status_code == 422
        assert said in markup(answer)
    last = alice.post("/settings/organisations/acme", {"action": "set", "member": "alice", "role": "read"})
    assert "only administrator" in markup(last)
    assert role("acme", "alice") == "admin"
    stranger = signed_in("charlie").post("/settings/organisations/acme", {"action": "profile", "bio": "mine"})
    assert stranger.status_code == 422
    assert Account.objects.get(name="acme").bio == ""
    assert alice.get("/settings/organisations/bob").status_code == 404
    assert Client().get("/settings/organisations").status_code == 302


def test_a_token_changes_no_membership(people: People) -> None:
    answer = client(people.alice).post(
        "/settings/organisations/acme", {"action": "set", "member": "charlie", "role": "admin"}
    )
    assert answer.status_code == 422
    assert role("acme", "charlie") is None


def test_a_new_password_ends_the_tokens_and_the_other_sessions(people: People) -> None:
    _row, text = create_token(account=people.alice, label="laptop", scope=Scope.WRITE)
    here, elsewhere = signed_in("alice"), signed_in("alice")
    fields = {"oldpassword": PASSWORD, "password1": "new horse, same battery", "password2": "new horse, same battery"}
    changed = here.post("/accounts/password/change/", fields, follow=True)
    assert "Access tokens revoked with the old password: 1." in markup(changed)
    assert find_token(text) is None
    assert here.get("/settings/tokens").status_code == 200
    assert elsewhere.get("/settings/tokens").status_code == 302
