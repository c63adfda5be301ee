"""Change requests: proposed, judged by somebody else, merged three ways."""

import pytest
from django.db import IntegrityError, transaction

from hub.activity.models import Event, Notice
from hub.jobs.models import Job
from hub.repos import trees
from hub.repos.changes import Change, Delete, Inline, Put
from hub.repos.policy import Refused
from hub.review import change_requests, decisions, merging, queue
from hub.review.models import ChangeRequest, Decision, State
from hub.review.refusals import MergeConflict, NotPossible
from hub.rights import Denied
from tests.people import People, make_repo, put


@pytest.fixture
def request_(people: People) -> ChangeRequest:
    """Bob proposes a file to Charlie's repo."""
    repo = make_repo(people.charlie, "x")
    put(people.charlie, repo, {"a.txt": b"1", "b.txt": b"1"})
    opened = change_requests.open_change_request(
        actor=people.actor("bob"), repo=repo, title="Better", description="why"
    )
    put(people.bob, repo, {"a.txt": b"2"}, branch=opened.ref)
    return opened


def head(request: ChangeRequest) -> str:
    return trees.resolve_commit(request.repo, request.ref).sha


def test_approval_merges(people: People, request_: ChangeRequest) -> None:
    put(people.charlie, request_.repo, {"b.txt": b"theirs"})
    decisions.decide(actor=people.actor("mary"), request=request_, verdict="approve", sha=head(request_))
    request_.refresh_from_db()
    merged = trees.resolve_commit(request_.repo, "main")
    files = trees.list_files(request_.repo, merged)
    assert (request_.state, request_.merged_as) == (State.MERGED, merged.sha)
    assert (files["a.txt"].read(), files["b.txt"].read()) == (b"2", b"theirs")
    assert len(merged.parents) == 2


def test_of_a_discussion_the_owner_hears(people: People, request_: ChangeRequest) -> None:
    asked = change_requests.open_change_request(
        actor=people.actor("bob"), repo=request_.repo, title="Which texts?", description="@charlie, German?", talk=True
    )
    also = change_requests.open_change_request(
        actor=people.actor("bob"), repo=request_.repo, title="And scores?", talk=True
    )
    told = Notice.objects.filter(account=people.charlie).order_by("pk").values_list("kind", "text")
    assert list(told.filter(url=asked.get_absolute_url())) == [("mention", "bob mentions you in Which texts?")]
    assert list(told.filter(url=also.get_absolute_url())) == [("comment", "bob wants to talk: And scores?")]


def test_after_one_item_of_the_queue_comes_the_next_due(people: People, request_: ChangeRequest) -> None:
    mary, bob = people.actor("mary"), people.actor("bob")
    assert queue.next_after(mary, request_) is None
    later = [change_requests.open_change_request(actor=bob, repo=request_.repo, title=title) for title in ("b", "c")]
    row = [request_, *later]
    assert [queue.next_after(mary, item) for item in row] == [later[0], later[1], request_]
    change_requests.set_state(actor=bob, request=later[0], state=State.CLOSED)
    assert queue.next_after(mary, later[0]) == request_
    closed = make_repo(people.charlie, "closed", private=True)
    put(people.charlie, closed, {"a.txt": b"1"})
    change_requests.open_change_request(actor=people.actor("charlie"), repo=closed, title="hidden")
    assert queue.next_after(mary, later[1]) == request_


def test_a_decision_is_bound_to_what_was_seen(people: People, request_: ChangeRequest) -> None:
    seen = head(request_)
    put(people.bob, request_.repo, {"a.txt": b"evil"}, branch=request_.ref)
    with pytest.raises(decisions.Moved):
        decisions.decide(actor=people.actor("mary"), request=request_, verdict="approve", sha=seen)


def test_nobody_decides_their_own(people: People) -> None:
    repo = make_repo(people.mary, "hers")
    put(people.mary, repo, {"a.txt": b"1"})
    opened = change_requests.open_change_request(actor=people.actor("bob"), repo=repo, title="t")
    put(people.bob, repo, {"a.txt": b"2"}, branch=opened.ref)
    with pytest.raises(Denied):
        decisions.decide(actor=people.actor("mary"), request=opened, verdict="approve", sha=head(opened))
    with pytest.raises(Denied):
        decisions.decide(actor=people.actor("bob"), request=opened, verdict="approve", sha=head(opened))
    with pytest.raises(IntegrityError), transaction.atomic():
        Decision.objects.create(
            change_request=opened, maintainer=people.bob, author=people.bob, verdict="approve", sha=head(opened)
        )


def test_a_refusal_needs_a_reason_and_closes(people: People, request_: ChangeRequest) -> None:
    with pytest.raises(NotPossible, match="Say why"):
        decisions.decide(actor=people.actor("mary"), request=request_, verdict="reject", sha=head(request_))
    decisions.decide(actor=people.actor("mary"), request=request_, verdict="reject", sha=head(request_), reason="no")
    request_.refresh_from_db()
    assert request_.state == State.CLOSED


def test_conflicts_name_the_files(people: People, request_: ChangeRequest) -> None:
    put(people.charlie, request_.repo, {"a.txt": b"3"})
    assert merging.conflicts(request_) == ["a.txt"]
    with pytest.raises(MergeConflict, match=r"a\.txt"):
        change_requests.merge(actor=people.actor("charlie"), request=request_)


@pytest.mark.parametrize(
    ("changes", "wrong"), [([Put("x.pkl", Inline(b"x"))], Refused), ([Delete("nowhere.txt")], trees.EntryNotFound)]
)
def test_of_a_refused_proposal_nobody_hears(people: People, changes: list[Change], wrong: type[Exception]) -> None:
    repo = make_repo(people.charlie, "x")
    put(people.charlie, repo, {"a.txt": b"1"})
    events, jobs = Event.objects.count(), Job.objects.count()
    with pytest.raises(wrong):
        change_requests.propose(
            actor=people.actor("bob"), repo=repo, changes_=changes, title="t", description="@alice look"
        )
    assert not ChangeRequest.objects.exists() and not Notice.objects.exists()
    assert (Event.objects.count(), Job.objects.count()) == (events, jobs)
    assert list(repo.refs.values_list("name", flat=True)) == ["refs/heads/main"]
    change_requests.propose(
        actor=people.actor("bob"),
        repo=repo,
        changes_=[Put("a.txt", Inline(b"2"))],
        title="t",
        description="@alice look",
    )
    told = set(Notice.objects.values_list("account__name", "kind"))
    assert told == {("alice", "mention"), ("charlie", "state")} and Job.objects.count() > jobs


def test_only_the_author_writes_its_ref(people: People, request_: ChangeRequest) -> None:
    with pytest.raises(Denied):
        put(people.alice, request_.repo, {"a.txt": b"x"}, branch=request_.ref)
    put(people.charlie, request_.repo, {"a.txt": b"owner may"}, branch=request_.ref)


def test_the_queue_counts_checks_in_one_query(
    people: People, request_: ChangeRequest, django_assert_num_queries: object
) -> None:
    from hub.review.checks import write_check

    write_check(repo=request_.repo, sha=head(request_), name="finite", verdict="fail", summary="NaN in lora_A.")
    write_check(repo=request_.repo, sha=head(request_), name="card", verdict="pass", summary="The card is complete.")
    with django_assert_num_queries(1):  # type: ignore[operator]
        rows = list(queue.queue(people.actor("mary")))
    assert [(row.number, row.passed, row.failed) for row in rows] == [(1, 1, 1)]
