"""Leaderboards, suites, outside scores, and evaluations that are never made twice."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.accounts.actor import actor_for
from hub.jobs.models import Job, State
from hub.repos.models import Kind, Repo
from hub.store.collect import collect
from merges.evaluation import items as item_files
from merges.evaluation.metrics import wilson_interval
from merges.models import Evaluation, Origin, Paired
from merges.work import leaderboards, outside, pairing, suites
from merges.work.evaluating import ask_for_evaluation, ask_for_matrix, ask_for_suite
from merges.work.leaderboards import BoardFilters
from merges.work.subjects import BadRequest
from tests.people import People, make_repo
from tests.publishing import do_jobs, publish, push


def scored(task: Repo, owner: Any, name: str, right: int, n: int = 200, **more: Any) -> Evaluation:
    repo = Repo.objects.filter(owner=owner, name=name).first() or make_repo(
        owner, name, private=more.pop("private", False)
    )
    low, high = wilson_interval(right, n)
    fields = {
        "score": right / n,
        "low": low,
        "high": high,
        "n": n,
        "standard_error": 0.02,
        "subject_sha": "a" * 40,
    } | more
    return Evaluation.objects.create(subject=repo, task=task, task_sha=task.head, **fields)


@pytest.fixture
def task(people: People) -> Repo:
    repo = make_repo(people.acme, "moods", by=people.alice, kind=Kind.TASK)
    Repo.objects.filter(pk=repo.pk).update(head="b" * 40)
    repo.refresh_from_db()
    return repo


def test_overlapping_intervals_are_ties(people: People, task: Repo) -> None:
    for name, right in (("best", 190), ("second", 186), ("middle", 150), ("worst", 60)):
        scored(task, people.bob, name, right)
    board = leaderboards.task_board(people.actor(None), task, BoardFilters())
    assert [(entry.subject, entry.rank, entry.tied) for entry in board] == [
        ("bob/best", 1, True), ("bob/second", 1, True), ("bob/middle", 3, False), ("bob/worst", 4, False),
    ]  # fmt: skip


def test_private_entries_leave_no_gap(people: People, task: Repo) -> None:
    scored(task, people.bob, "hidden", 199, private=True)
    scored(task, people.bob, "open", 100)
    assert [entry.rank for entry in leaderboards.task_board(people.actor("charlie"), task, BoardFilters())] == [1]
    assert [entry.rank for entry in leaderboards.task_board(people.actor("bob"), task, BoardFilters())] == [1, 2]


def test_measured_counts_before_claimed_and_newest_before_older(people: People, task: Repo) -> None:
    scored(task, people.bob, "x", 100, subject_sha="1" * 40)
    scored(task, people.bob, "x", 120, subject_sha="2" * 40)
    scored(task, people.bob, "x", 199, subject_sha="3" * 40, origin=Origin.CLAIMED)
    (entry,) = leaderboards.task_board(people.actor(None), task, BoardFilters())
    assert (entry.score, entry.sha[0], entry.origin) == (0.6, "2", "verified")
    (claimed,) = leaderboards.task_board(people.actor(None), task, BoardFilters(origin="claimed"))
    assert claimed.score == 199 / 200


def test_csv_and_filters(people: People, task: Repo) -> None:
    row = scored(task, people.bob, "small", 100)
    Repo.objects.filter(pk=row.subject_id).update(facts={"trained_parameters": 1000, "share_of_base": 0.001})
    scored(task, people.bob, "-cmd", 90)
    board = leaderboards.task_board(people.actor(None), task, BoardFilters())
    lines = list(csv.DictReader(io.StringIO(leaderboards.as_csv(board))))
    assert lines[0]["trained_parameters"] == "1000"
    assert {line["subject"] for line in lines} == {"bob/small", "bob/-cmd"}
    assert len(leaderboards.task_board(people.actor(None), task, BoardFilters(most_share=0.01))) == 1
    with pytest.raises(BadRequest):
        leaderboards.read_filters({"most_share": "much"})


def test_the_board_asks_as_often_for_many_as_for_few(people: People, task: Repo, client: Any) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get("/leaderboards/acme/moods").status_code == 200
        return len(seen)

    for number in range(3):
        scored(task, people.bob, f"x{number}", 100 + number)
    few = count()
    for number in range(20):
        scored(task, people.bob, f"y{number}", 100 + number)
    assert count() == few


def test_one_job_judges_many_and_nothing_twice(people: People, lab: dict[str, Repo], tmp_path: Path) -> None:
    alice = actor_for(people.alice)
    rows = ask_for_matrix(actor=alice, subjects=["bob/adapter-moods", "acme/tiny"], tasks=["acme/moods", "acme/tastes"])
    assert len({row.job_id for row in rows}) == 1, "one base, one job"
    do_jobs()
    assert Job.objects.get(pk=rows[0].job_id).state == State.SUCCEEDED
    for row in rows:
        row.refresh_from_db()
        assert row.score is not None and row.low is not None and row.low <= row.score <= (row.high or 0)
        items = item_files.read(pairing.read_items(str(row.items_id)))
        assert sum(item["right"] for item in items) == round(row.score * 24)
        assert items[0]["text"]
    lora = next(row for row in rows if row.subject.name == "adapter-moods" and row.task.name == "moods")
    pair = Paired.objects.get(evaluation=lora)
    base = next(row for row in rows if row.subject.name == "tiny" and row.task.name == "moods")
    assert pair.other == base
    assert pair.difference == pytest.approx((lora.score or 0) - (base.score or 0))
    jobs = Job.objects.count()
    ask_for_matrix(actor=alice, subjects=["bob/adapter-moods"], tasks=["acme/moods"])
    assert Job.objects.count() == jobs
    collect()
    assert lora.items is not None and lora.items.unreferenced_since is None
    # the same bytes in another repo: known at once
    copy = publish(people.charlie, "copy", tmp_path / "adapter-moods")
    jobs = Job.objects.count()
    known = ask_for_evaluation(actor=alice, subject=copy.full_name, task="acme/moods")
    assert (known.score, known.job, known.items_id) == (lora.score, None, lora.items_id)
    assert Job.objects.count() == jobs
    # another setting is another evaluation
    other = ask_for_evaluation(actor=alice, subject="bob/adapter-moods", task="acme/moods", settings={"max_length": 16})
    assert other.pk != lora.pk and other.settings == {"max_length": 16}


def test_a_killed_worker_loses_nothing_that_was_done(
    people: People, lab: dict[str, Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.jobs.working import run_job
    from merges.work import judging

    rows = ask_for_matrix(
        actor=actor_for(people.alice), subjects=["bob/adapter-moods"], tasks=["acme/moods", "acme/tastes"]
    )
    real, calls = judging.Bench.judge, []

    def dying(bench: Any, row: Evaluation) -> Any:
        calls.append(row.task.name)
        if len(calls) == 2:
            raise OSError("the machine went away")
        return real(bench, row)

    monkeypatch.setattr(judging.Bench, "judge", dying)
    run_job(str(rows[0].job_id))
    assert Job.objects.get(pk=rows[0].job_id).state == State.QUEUED
    run_job(str(rows[0].job_id))
    assert Job.objects.get(pk=rows[0].job_id).state == State.SUCCEEDED
    assert calls == ["moods", "tastes", "tastes"]


def test_time_is_limited(people: People, lab: dict[str, Repo], settings: Any) -> None:
    settings.LIMITS = settings.LIMITS | {"evaluation_seconds": -1}
    row = ask_for_evaluation(actor=actor_for(people.alice), subject="bob/adapter-moods", task="acme/moods")
    do_jobs()
    assert row.job is not None
    row.job.refresh_from_db()
    assert row.job.state == State.FAILED and "longer than" in row.job.error


def test_suites_are_pinned_and_ranked(people: People, lab: dict[str, Repo], tmp_path: Path) -> None:
    bob = actor_for(people.bob)
    parts = [suites.Part("acme/moods"), suites.Part("acme/tastes", settings={"max_length": 32})]
    suite = suites.publish_suite(actor=bob, name="tiny-suite", title="Tiny", parts=parts)
    assert [entry.task_sha for entry in suite.entries.all()] == [lab["moods"].head, lab["tastes"].head]
    ask_for_suite(actor=bob, suite=suite, subject="bob/adapter-moods")
    do_jobs()
    (entry,) = leaderboards.suite_board(bob, suite, BoardFilters())
    assert entry.score == pytest.approx(sum(entry.parts) / 2)
    (tmp_path / "moods" / "README.md").write_text((tmp_path / "moods" / "README.md").read_text() + "\nMore.\n")
    push(people.alice, lab["moods"], tmp_path / "moods")
    again = suites.publish_suite(actor=bob, name="tiny-suite", title="Tiny", parts=parts)
    assert again.version == 2
    assert list(leaderboards.suite_board(bob, again, BoardFilters())) == []
    assert len(leaderboards.suite_board(bob, suite, BoardFilters())) == 1
    with pytest.raises(BadRequest, match="twice"):
        suites.publish_suite(actor=bob, name="double", title="", parts=[parts[0], parts[0]])
    with pytest.raises(Exception, match="somebody else"):
        suites.publish_suite(actor=people.actor("charlie"), name="tiny-suite", title="", parts=parts)
    with pytest.raises(BadRequest, match="no setting"):
        suites.publish_suite(actor=bob, name="odd", title="", parts=[suites.Part("acme/moods", settings={"x": 1})])


def test_outside_scores_are_marked(people: People, lab: dict[str, Repo]) -> None:
    results = {"results": {"m": {"acc,none": 0.5, "acc_stderr,none": 0.1}}, "n-samples": {"m": {"effective": 24}}}
    asked = {"subject": "bob/adapter-moods", "results": results, "tasks": {"m": "acme/moods"}}
    (own,) = outside.import_results(actor=people.actor("bob"), **asked)
    (other,) = outside.import_results(actor=people.actor("alice"), **asked)
    assert (own.origin, other.origin) == (Origin.CLAIMED, Origin.COMMUNITY)
    assert outside.export_results([other])["results"]["acme--moods"]["acc,none"] == 0.5
    outside.import_results(actor=people.actor("bob"), **asked)
    assert Evaluation.objects.count() == 2
    with pytest.raises(BadRequest, match="None of the results"):
        outside.import_results(actor=people.actor("bob"), **(asked | {"tasks": {"other": "acme/moods"}}))


def test_claims_of_a_card() -> None:
    card = {"model-index": [{"results": [
        {"dataset": {"type": "acme/moods"}, "metrics": [{"type": "accuracy", "value": 91.5}, {"type": "x", "value": 1}]},
        {"dataset": "odd", "metrics": 3}, 7]}, None]}  # fmt: skip
    assert outside.claims(card) == [("acme/moods", "accuracy", 0.915)]
    assert outside.claims({"model-index": {"a": 1}}) == []
