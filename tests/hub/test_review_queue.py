"""The queue: reasons, dates, two people, delayed rejection, rules, notices."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hub.accounts.models import Account, Role, create_person
from hub.activity import notices
from hub.activity.models import Notice
from hub.repos import lifecycle, standing, trees
from hub.repos.changes import Inline, Put
from hub.repos.models import Kind, Ref, Repo
from hub.repos.pushing import update_ref
from hub.review import change_requests, checks, conversation, decisions, queue, schedule
from hub.review.models import AutoRule, ChangeRequest, DelayedRejection, QueueStay, Risk, Sample, State
from hub.review.refusals import NotPossible
from hub.rights import Denied
from tests.people import PASSWORD, People, make_repo, put


def propose(
    people: People, by: str = "bob", *, kind: str = Kind.ADAPTER, name: str = "x", files: Any = None
) -> ChangeRequest:
    repo = Repo.objects.filter(owner=people.charlie, name=name).first()
    if repo is None:
        repo = make_repo(people.charlie, name, kind=kind)
        put(people.charlie, repo, {"a.txt": b"1"})
    request = change_requests.open_change_request(actor=people.actor(by), repo=repo, title="Better")
    put(getattr(people, by), repo, files or {"a.txt": b"2"}, branch=request.ref)
    request.refresh_from_db()
    return request


def head(request: ChangeRequest) -> str:
    return trees.resolve_commit(request.repo, request.ref).sha


def why(request: ChangeRequest) -> set[str]:
    return set(request.reasons.filter(ended_at=None).values_list("reason", flat=True))


def check(request: ChangeRequest, name: str, verdict: str) -> None:
    checks.write_check(repo=request.repo, sha=head(request), name=name, verdict=verdict, summary="…")
    request.refresh_from_db()


@pytest.fixture
def maud(db: None) -> Account:
    return create_person(name="maud", email="maud@example.org", password=PASSWORD, role=Role.MAINTAINER)


def decide(people: People, request: ChangeRequest, verdict: str, by: Account | None = None, **more: Any) -> None:
    from hub.accounts.actor import actor_for

    actor = actor_for(by or people.mary)
    decisions.decide(actor=actor, request=request, verdict=verdict, sha=more.pop("sha", head(request)), **more)
    request.refresh_from_db()


def test_reasons_follow_the_checks(people: People) -> None:
    request = propose(people)
    assert why(request) == {"proposal"}
    assert request.due_at is not None and request.due_at > timezone.now() + timedelta(days=4)
    check(request, "finite", "fail")
    assert why(request) == {"proposal", "failed_check", "high_check"}
    assert (request.risk, request.two_people) == (Risk.HIGH, True)
    assert request.due_at < timezone.now() + timedelta(days=2)
    check(request, "finite", "pass")
    assert why(request) == {"proposal"}
    assert not request.two_people
    ended = request.reasons.exclude(ended_at=None).values_list("reason", flat=True)
    assert set(ended) == {"failed_check", "high_check"}


def test_two_people_must_agree_on_the_same_commit(people: People, maud: Account) -> None:
    request = propose(people, kind=Kind.BASE)
    assert request.two_people
    decide(people, request, "approve")
    assert request.state == State.OPEN and "second_person" in why(request)
    with pytest.raises(NotPossible, match="second maintainer"):
        decide(people, request, "approve")
    put(people.bob, request.repo, {"a.txt": b"3"}, branch=request.ref)
    request.refresh_from_db()
    assert request.approver is None
    decide(people, request, "approve", maud)
    decide(people, request, "approve")
    assert (request.state, request.approver, request.second_approver) == (State.MERGED, maud, people.mary)


def test_a_ref_pushed_back_takes_its_approval_away(people: People, maud: Account) -> None:
    request = propose(people, kind=Kind.BASE, files={"a.txt": b"bad"})
    bad = head(request)
    good = put(people.bob, request.repo, {"a.txt": b"good"}, branch=request.ref).sha
    request.refresh_from_db()
    decide(people, request, "approve")
    update_ref(actor=people.actor("bob"), repo=request.repo, ref=request.ref, old=good, new=bad, objects={})
    request.refresh_from_db()
    assert (head(request), request.approver) == (bad, None)
    assert request.comments.filter(kind="commit", data__oid=bad).count() == 2, "the discussion shows where it is now"
    decide(people, request, "approve", maud)
    assert (request.state, request.approver) == (State.OPEN, maud)
    decide(people, request, "approve")
    assert request.state == State.MERGED


def test_an_approval_counts_for_its_own_commit_only(people: People, maud: Account) -> None:
    request = propose(people, kind=Kind.BASE, files={"a.txt": b"bad"})
    bad = head(request)
    put(people.bob, request.repo, {"a.txt": b"good"}, branch=request.ref)
    request.refresh_from_db()
    decide(people, request, "approve")
    Ref.objects.filter(repo=request.repo, name=request.ref).update(target=bad)  # moved by whatever tells nobody
    decide(people, request, "approve", maud)
    assert (request.state, request.approver, request.second_approver) == (State.OPEN, maud, None)
    decide(people, request, "approve")
    assert (request.state, request.second_approver) == (State.MERGED, people.mary)


def test_the_database_knows_the_rule_too(people: People) -> None:
    request = propose(people, kind=Kind.BASE)
    for wrong in ({"approver": people.mary, "second_approver": people.mary}, {"second_approver": people.mary},
                  {"state": "merged", "merged_as": "a" * 40, "approver": people.mary}):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            ChangeRequest.objects.filter(pk=request.pk).update(**wrong)


def test_a_question_moves_the_date_and_an_answer_brings_it_back(people: People) -> None:
    request = propose(people)
    with pytest.raises(NotPossible, match="until when"):
        decide(people, request, "request_info", reason="Which data?")
    until = timezone.now() + timedelta(days=20)
    decide(people, request, "request_info", reason="Which data?", reply_by=until)
    assert request.state == State.OPEN and request.due_at == until
    change_requests.comment(actor=people.actor("bob"), request=request, text="Those of moods.")
    request.refresh_from_db()
    assert request.reply_by is None and "answered" in why(request)
    decide(people, request, "request_info", reason="And the seed?", reply_by=until)
    assert "answered" not in why(request)
    ChangeRequest.objects.filter(pk=request.pk).update(reply_by=timezone.now() - timedelta(hours=1))
    assert schedule.carry_out_due() == 1
    assert "overdue_answer" in why(request)
    assert schedule.carry_out_due() == 0


def test_a_delayed_rejection_waits_and_new_commits_stop_it(people: People) -> None:
    first, second = propose(people), propose(people, name="y")
    for request in (first, second):
        decide(people, request, "reject", reason="Stale", reject_at=timezone.now() + timedelta(days=1))
        assert request.state == State.OPEN
    put(people.bob, second.repo, {"a.txt": b"3"}, branch=second.ref)
    first.delayed_rejection.__class__.objects.update(at=timezone.now() - timedelta(minutes=1))
    assert schedule.carry_out_due() == 1
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == (State.CLOSED, State.OPEN)
    assert first.stays.get().left_as == "closed"


def test_hand_over_and_private_notes(people: People, maud: Account) -> None:
    request = propose(people)
    with pytest.raises(NotPossible, match="not a maintainer"):
        decisions.hand_over(actor=people.actor("mary"), request=request, to="bob")
    decisions.hand_over(actor=people.actor("mary"), request=request, to="maud", note="You know the data.")
    request.refresh_from_db()
    assert request.assigned == maud and "handed_over" in why(request)
    assert [row.text for row in decisions.notes_of(people.actor("mary"), request)] == ["You know the data."]
    for name in ("bob", "charlie", "alice", None):
        assert not decisions.notes_of(people.actor(name), request).exists()
        with pytest.raises(Denied):
            decisions.add_note(actor=people.actor(name), request=request, text="x")
    assert [row.pk for row in queue.queue(people.actor("mary"), queue.QueueFilters(mine=True))] == []


def test_rules_accept_only_what_is_small_clean_and_from_somebody_known(people: People, maud: Account) -> None:
    rule = AutoRule.objects.create(name="Small texts", owner=maud, accepted_before=1, sample=1.0)
    before = propose(people)
    decide(people, before, "approve")
    request, weights = (
        propose(people, name="y"),
        propose(people, name="z", files={"b.txt": b"", "c.txt": b"", "d.txt": b"", "e.txt": b""}),
    )
    for row in (request, weights):
        check(row, "card", "pass")
    assert schedule.accept_by_rules() == 0, "too fresh"
    past = timezone.now() - timedelta(hours=1)
    ChangeRequest.objects.update(opened_at=past)
    request.repo.checks.update(created_at=past)
    weights.repo.checks.update(created_at=past)
    assert schedule.accept_by_rules() == 1
    request.refresh_from_db()
    weights.refresh_from_db()
    assert (request.state, weights.state) == (State.MERGED, State.OPEN)
    assert Sample.objects.get().decision.rule == rule
    assert "4 files" in schedule.fits(rule, weights)


def test_what_cannot_be_done_stops_no_other(people: People, maud: Account, caplog: Any) -> None:
    broken, fine = propose(people), propose(people, name="y")
    for request in (broken, fine):
        decide(people, request, "reject", reason="Stale", reject_at=timezone.now() + timedelta(days=1))
    for days, request in ((2, broken), (1, fine)):  # the broken one comes first
        DelayedRejection.objects.filter(change_request=request).update(at=timezone.now() - timedelta(days=days))
    Ref.objects.filter(repo=broken.repo, name=broken.ref).delete()
    assert schedule.carry_out_due() == 1
    fine.refresh_from_db()
    assert fine.state == State.CLOSED and "RevisionNotFound" in caplog.text


def test_a_rule_goes_on_where_a_target_is_gone(people: People, maud: Account, caplog: Any) -> None:
    AutoRule.objects.create(name="Small texts", owner=maud, accepted_before=1)
    decide(people, propose(people, name="y"), "approve")
    rows = gone, _fine = propose(people, name="y", files={"b.txt": b"2"}), propose(people, name="z")
    for row in rows:
        check(row, "card", "pass")
        lifecycle.create_branch(actor=people.actor("charlie"), repo=row.repo, name="side")
        ChangeRequest.objects.filter(pk=row.pk).update(target="refs/heads/side")
        row.repo.checks.update(created_at=timezone.now() - timedelta(hours=1))
    ChangeRequest.objects.update(opened_at=timezone.now() - timedelta(hours=1))  # the newest number comes first
    lifecycle.delete_branch(actor=people.actor("charlie"), repo=gone.repo, name="side")
    assert schedule.accept_by_rules() == 1
    assert "RevisionNotFound" in caplog.text
    assert list(ChangeRequest.objects.filter(state=State.OPEN)) == [gone]


def test_statistics(people: People) -> None:
    assert queue.statistics(people.actor("mary")).median_wait is None
    for name in ("x", "y"):
        decide(people, propose(people, name=name), "reject", reason="no")
    propose(people, name="z")
    start = timezone.now() - timedelta(days=3)
    for stay, days in zip(QueueStay.objects.exclude(left_at=None), (1, 3), strict=True):
        QueueStay.objects.filter(pk=stay.pk).update(entered_at=stay.left_at - timedelta(days=days))
    ChangeRequest.objects.filter(state=State.OPEN).update(opened_at=start)
    found = queue.statistics(people.actor("mary"))
    assert (found.open, found.decided) == (1, 2)
    assert found.median_wait == pytest.approx(2 * 86400, rel=0.01)
    assert found.oldest == pytest.approx(3 * 86400, rel=0.01)


def test_the_queue_asks_as_often_for_twenty_as_for_two(people: People) -> None:
    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            queue.adorn(list(queue.queue(people.actor("mary"))[:30]))
        return len(seen)

    for _ in range(2):
        propose(people)
    few = count()
    for _ in range(5):
        propose(people)
    assert count() == few == 3


def test_mentions_followers_mail_and_unsubscribing(people: People, settings: Any) -> None:
    request = propose(people)
    Notice.objects.all().delete()
    text = "@alice look, not `@mary` nor mail@bob.org, and @nobody"
    change_requests.comment(actor=people.actor("bob"), request=request, text=text)
    assert {(row.account.name, row.kind) for row in Notice.objects.all()} == {
        ("alice", "mention"),
        ("charlie", "comment"),
    }
    conversation.subscribe(actor=people.actor("charlie"), request=request, on=False)
    notices.choose(people.alice, "mention", in_site=True, by_mail=False)
    change_requests.comment(actor=people.actor("bob"), request=request, text="@alice again")
    assert Notice.objects.filter(account=people.charlie).count() == 1
    assert notices.send_mail() == 2 and notices.send_mail() == 0
    assert {message.to[0] for message in mail.outbox} == {"alice@example.org", "charlie@example.org"}
    leave = mail.outbox[0].extra_headers["List-Unsubscribe"].strip("<>").rpartition("/")[2]
    assert notices.read_unsubscribe(leave) is not None
    assert notices.read_unsubscribe(leave + "x") is None
    Repo.objects.filter(pk=request.repo_id).update(private=True)
    assert not notices.notices_of(people.actor("alice")).exists()
    assert notices.notices_of(people.actor("charlie")).exists()


def test_a_title_of_two_lines_is_one_line_and_mail_goes_out(people: People) -> None:
    repo = make_repo(people.charlie, "x")
    put(people.charlie, repo, {"a.txt": b"1"})
    changes = [Put("a.txt", Inline(b"2"))]
    request, made = change_requests.propose(
        actor=people.actor("bob"), repo=repo, changes_=changes, title="Better\r\nand \x0b faster \u2028now\n"
    )
    assert (request.title, made.title.strip()) == ("Better and faster now", "Better")
    change_requests.set_title(actor=people.actor("bob"), request=request, title="Best\nof all")
    assert request.title == "Best of all"
    Notice.objects.update(text="Written\nbefore")  # as earlier versions did
    assert notices.send_mail() == len(mail.outbox) == 1
    assert mail.outbox[0].subject.endswith("] Written before")


def test_a_notice_that_cannot_be_mailed_stops_no_other(people: People, caplog: Any) -> None:
    for person in (people.alice, people.bob):
        notices.tell([person], "mention", f"To {person.name}", "/")
    Account.objects.filter(pk=people.alice.pk).update(email="alice@example.org\nX: y")
    assert notices.send_mail() == 1
    assert [message.to for message in mail.outbox] == [["bob@example.org"]]
    assert "could not be mailed" in caplog.text and not Notice.objects.filter(mailed_at=None).exists()


def test_reactions(people: People) -> None:
    request = propose(people)
    said = change_requests.comment(actor=people.actor("bob"), request=request, text="Look")
    for name in ("alice", "charlie", "alice"):
        conversation.react(actor=people.actor(name), comment=said, sign="party")
    assert conversation.reactions([said], people.actor("alice"))[said.pk] == [
        {"sign": "party", "mark": "🎉", "count": 2, "own": True}
    ]
    conversation.react(actor=people.actor("alice"), comment=said, sign="party", on=False)
    assert conversation.reactions([said], people.actor("alice"))[said.pk][0]["own"] is False
    with pytest.raises(NotPossible):
        conversation.react(actor=people.actor("alice"), comment=said, sign="<b>")


def test_quarantine_hides_and_yanking_pins(people: People, client: Any) -> None:
    request = propose(people)
    repo = request.repo
    with pytest.raises(standing.BadStanding):
        standing.set_standing(actor=people.actor("mary"), repo=repo, standing="quarantined")
    with pytest.raises(Denied):
        standing.set_standing(actor=people.actor("charlie"), repo=repo, standing="quarantined", reason="x")
    standing.set_standing(actor=people.actor("mary"), repo=repo, standing="quarantined", reason="Malware")

    def seen(name: str | None) -> bool:
        return Repo.objects.visible_to(people.actor(name)).filter(pk=repo.pk).exists()

    assert [seen(name) for name in ("charlie", "mary", "bob", "alice", None)] == [True, True, False, False, False]
    assert client.get("/charlie/x/resolve/main/a.txt").status_code == 401
    with pytest.raises(Denied):
        standing.set_standing(
            actor=people.actor("charlie"), repo=Repo.objects.get(pk=repo.pk), standing="good", reason="x"
        )
    repo = standing.set_standing(
        actor=people.actor("mary"), repo=Repo.objects.get(pk=repo.pk), standing="yanked", reason="Wrong labels."
    )
    answer = client.get("/charlie/x/resolve/main/a.txt")
    assert answer.status_code == 410 and "Wrong labels" in answer.headers["X-Error-Message"]
    assert client.get(f"/charlie/x/resolve/{repo.head}/a.txt").content == b"1"
    assert client.get("/api/models/charlie/x").json()["disabled"] is True
    assert client.get("/api/models/charlie/x/revision/main").status_code == 410
    standing.set_standing(actor=people.actor("charlie"), repo=repo, standing="good", reason="Mended.")
    assert client.get("/charlie/x/resolve/main/a.txt").status_code == 200
    assert [event.verb for event in repo.events.filter(verb__in=("yank", "quarantine", "restore")).order_by("at")] == [
        "quarantine",
        "yank",
        "restore",
    ]
