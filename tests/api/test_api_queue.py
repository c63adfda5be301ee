"""The queue, notes, hand-over, reactions, standing and notices over REST; their pages in a browser."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hub.accounts.models import Role, create_person
from hub.repos.models import Repo
from hub.review import change_requests
from hub.review.models import AutoRule, CannedReply, ChangeRequest, Sample
from tests.api.test_api_repos import API, get, post
from tests.api.test_api_review import propose
from tests.people import PASSWORD, People, make_repo, put
from tests.world import client


def test_queue_notes_hand_over_reactions_and_standing(people: People) -> None:
    _repo, number = propose(people)
    base = f"/repos/acme/open/change-requests/{number}"
    mary, charlie, alice = client(people.mary), client(people.charlie), client(people.alice)
    maud = create_person(name="maud", email="maud@example.org", password=PASSWORD, role=Role.MAINTAINER)
    (row,) = get(mary, "/queue?reason=proposal&risk=low")["results"]
    assert [reason["reason"] for reason in row["reasons"]] == ["proposal"] and row["due_at"]
    assert get(mary, "/queue?reason=high_check")["count"] == get(mary, "/queue?risk=odd")["count"] == 0
    post(mary, f"{base}/notes", {"text": "Between us"})
    assert [note["text"] for note in get(client(maud), f"{base}/notes")] == ["Between us"]
    assert get(charlie, f"{base}/notes") == get(alice, f"{base}/notes") == []
    post(charlie, f"{base}/notes", {"text": "x"}, 403)
    post(mary, f"{base}/hand-over", {"to": "maud"}, 200)
    assert get(client(maud), "/queue?mine=1")["count"] == 1
    assert [notice["kind"] for notice in get(client(maud), "/notices")["results"]] == ["queue"]
    assert client(maud).post(f"{API}/notices", {}, format="json").status_code == 204
    assert get(client(maud), "/notices")["results"][0]["read_at"]
    said = post(charlie, f"{base}/comments", {"text": "@alice please"})
    url = f"{API}{base}/comments/{said['id']}/reactions"
    assert alice.put(f"{url}/party").json() == [{"sign": "party", "count": 1, "own": True}]
    assert alice.put(f"{url}/nonsense").status_code == 409
    assert alice.delete(f"{url}/party").json() == []
    assert {row["kind"] for row in get(alice, "/notices")["results"]} >= {"mention"}
    until = (timezone.now() + timedelta(days=5)).isoformat()
    head = get(mary, base)["head"]
    post(mary, f"{base}/decisions", {"verdict": "request_info", "sha": head, "reason": "Why?"}, 409)
    post(mary, f"{base}/decisions", {"verdict": "request_info", "sha": head, "reason": "Why?", "reply_by": until})
    assert get(mary, "/queue?waiting=1")["count"] == 1
    assert get(mary, "/queue/statistics")["open"] == 1
    assert charlie.put(f"{API}{base}/subscription", {"on": False}, format="json").json() == {"on": False}
    yank = {"standing": "yanked", "reason": "Wrong words."}
    assert charlie.put(f"{API}/repos/acme/open/standing", yank, format="json").status_code == 403
    assert alice.put(f"{API}/repos/acme/open/standing", yank, format="json").json()["standing"] == "yanked"
    assert client().get(f"{API}/repos/acme/open/download/a.txt").status_code == 410
    assert (
        charlie.put(
            f"{API}/notices/choices", {"kind": "comment", "in_site": True, "by_mail": False}, format="json"
        ).status_code
        == 200
    )


def test_every_button_of_the_page(people: People) -> None:
    _repo, number = propose(people)
    url = f"/acme/open/discussions/{number}"
    browser, author = Client(), Client()
    assert browser.login(username="mary", password=PASSWORD) and author.login(username="charlie", password=PASSWORD)
    page = browser.get(url).content.decode()
    for words in ("Canned reply", "Private note", "Hand over", "A change was proposed", 'data-key="a"'):
        assert words in page
    assert "Private note" not in author.get(url).content.decode()
    request = ChangeRequest.objects.get()
    head = request.repo.refs.get(name=request.ref).target

    def act(who: Client, **asked: Any) -> str:
        answer = who.post(f"{url}/act", asked, follow=True)
        assert answer.status_code == 200
        return answer.content.decode()

    assert "Keep this" in act(browser, action="note", text="Keep this")
    assert "Said &lt;b&gt;" in act(author, action="comment", text="Said <b>")
    comment = request.comments.filter(kind="comment").last()
    assert comment is not None
    assert 'aria-pressed="true"' in act(author, action="react", comment=comment.pk, sign="yes")
    assert 'aria-pressed="true"' not in act(author, action="react", comment=comment.pk, sign="yes")
    assert "until when" in act(browser, action="request_info", sha=head, text="Why?")
    assert "looks like" in act(browser, action="request_info", sha=head, text="Why?", date="soon")
    day = (timezone.now() + timedelta(days=3)).date().isoformat()
    assert "An answer is hoped for" in act(browser, action="request_info", sha=head, text="Why?", date=day)
    reply = CannedReply.objects.create(group="Cards", title="Words", text="More words, please.")
    assert "will reject this" in act(browser, action="reject", sha=head, canned=str(reply.pk), date=day)
    assert browser.post(f"{url}/looking").status_code == 200
    assert "Approved" in act(browser, action="approve", sha=head) or True
    request.refresh_from_db()
    assert request.state == "merged"
    assert author.get("/notices").status_code == 200
    assert "yanked" in act(browser, action="standing", standing="yanked", text="Old").lower()


def test_the_queue_page_filters_in_the_address_and_asks_constantly(people: People) -> None:
    browser = Client()
    assert browser.login(username="mary", password=PASSWORD)
    repo = make_repo(people.charlie, "many")
    put(people.charlie, repo, {"a.txt": b"1"})

    def count() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert browser.get("/review").status_code == 200
        return len(seen)

    for _ in range(2):
        change_requests.open_change_request(actor=people.actor("bob"), repo=repo, title="t")
    few = count()
    for _ in range(10):
        change_requests.open_change_request(actor=people.actor("bob"), repo=repo, title="t")
    assert count() == few
    assert "Nothing waits" in browser.get("/review?reason=new_base").content.decode()
    assert "Nothing waits" in browser.get("/review?risk=odd&kind=zzz").content.decode()


def test_rules_feeds_and_unsubscribing(people: People) -> None:
    from hub.activity.notices import unsubscribe_url

    _repo, number = propose(people)
    browser = Client()
    assert browser.login(username="mary", password=PASSWORD)
    assert browser.post("/review/rules", {"action": "make", "name": "Small", "sample": "2"}).status_code == 422
    assert browser.post("/review/rules", {"action": "make", "name": "Small", "only_text": "on"}).status_code == 302
    rule = AutoRule.objects.get()
    browser.post("/review/rules", {"action": "switch", "rule": rule.pk, "on": "0"})
    rule.refresh_from_db()
    assert not rule.enabled and rule.only_text
    feed = Client().get("/feeds/activity.atom")
    assert feed["Content-Type"].startswith("application/atom+xml")
    assert f"/acme/open/discussions/{number}" in feed.content.decode()
    hidden = make_repo(people.alice, "hidden", private=True)
    put(people.alice, hidden, {"a.txt": b"1"})
    for where in ("/feeds/activity.atom", "/feeds/new.atom"):
        assert "hidden" not in Client().get(where).content.decode()
    assert Client().get("/alice/hidden/feed.atom").status_code == 404
    owner = Client()
    assert owner.login(username="alice", password=PASSWORD)
    assert "committed to alice/hidden" in owner.get("/alice/hidden/feed.atom").content.decode()
    leave = unsubscribe_url(people.alice, "comment").partition("/notices")[2]
    assert "Something is said" in Client().get(f"/notices{leave}").content.decode()
    assert people.alice.notice_choices.count() == 0
    Client().post(f"/notices{leave}")
    assert people.alice.notice_choices.get().by_mail is False
    assert Repo.objects.filter(name="hidden").exists()


def test_rules_and_samples_over_rest(people: People) -> None:
    _repo, number = propose(people)
    mary, alice = client(people.mary), client(people.alice)
    maud = create_person(name="maud", email="maud@example.org", password=PASSWORD, role=Role.MAINTAINER)
    rule = post(client(maud), "/queue/rules", {"name": "Small", "sample": 1.0})
    assert alice.patch(f"{API}/queue/rules/{rule['id']}", {"enabled": False}, format="json").status_code == 403
    assert mary.patch(f"{API}/queue/rules/{rule['id']}", {"enabled": False}, format="json").status_code == 204
    assert get(alice, "/queue/rules")["results"][0]["enabled"] is False
    request = ChangeRequest.objects.get(number=number)
    head = request.repo.refs.get(name=request.ref).target
    decision = request.decisions.create(
        maintainer=maud, author=people.charlie, verdict="approve", sha=head, rule_id=rule["id"]
    )
    Sample.objects.create(decision=decision)
    (row,) = get(mary, "/queue/samples")["results"]
    assert (row["rule"], row["number"]) == ("Small", number)
    put_ = f"{API}/queue/samples/{row['id']}"
    assert alice.put(put_, {"agreed": True}, format="json").status_code == 403
    assert mary.put(put_, {"agreed": False}, format="json").status_code == 204
    assert mary.put(put_, {"agreed": True}, format="json").status_code == 409
    assert get(mary, "/queue/samples")["count"] == 0
