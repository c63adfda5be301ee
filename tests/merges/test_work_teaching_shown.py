"""What a teaching shows of its scores: only what this hub measured of this result, by its metric, on the same test."""

from pathlib import Path

import pytest

from hub.jobs.models import Job, State
from hub.repos import trees
from hub.repos.models import Kind, Repo
from merges.models import Evaluation, Teaching
from merges.work import outside
from merges.work.evaluating import ask_for_evaluation
from merges.work.subjects import pin
from merges.work.teaching.asking import ask_for_teaching
from merges.work.teaching.judged import base_score_of, change_since, judging_of, score_of
from merges.work.teaching.showing import before
from tests.merges.test_work_teaching import distinct, order
from tests.people import People, put
from tests.publishing import publish
from tests.pure.tiny_models import write_encoder


@pytest.fixture
def base(people: People, tmp_path: Path) -> Repo:
    return publish(people.acme, "tiny", write_encoder(tmp_path / "base"), by=people.alice)


def taught(people: People, number: int = 0) -> Teaching:
    """A teaching whose result is there; what it learnt does not matter here, so nothing is trained."""
    row = ask_for_teaching(actor=people.actor("alice"), order=order(given=distinct(24, 40 * number)))
    made = put(people.alice, row.repo, {"labels.json": b"[%d]" % number})
    Job.objects.filter(pk=row.job_id).update(state=State.SUCCEEDED)
    Teaching.objects.filter(pk=row.pk).update(result_sha=made.sha)
    return Teaching.objects.get(pk=row.pk)


def judged(people: People, row: Teaching, score: float | None, **fields: object) -> Evaluation:
    """The evaluation the job asks for, with the score a worker would write."""
    alice = people.actor("alice")
    assert row.base is not None
    found = ask_for_evaluation(
        actor=alice, subject=row.repo.full_name, task=row.task.full_name, revision=row.result_sha,
        task_revision=row.task_sha, base=pin(row.base.full_name, alice, kinds=(Kind.BASE,)), settings=fields.pop("settings", None),
    )  # fmt: skip
    Evaluation.objects.filter(pk=found.pk).update(score=score, n=6 if score is not None else None, **fields)
    return found


def test_only_the_hubs_own_measurement_is_the_specialists_score(people: People, base: Repo) -> None:
    row = taught(people)
    results = {"results": {"m": {"acc,none": 0.123}}, "n-samples": {"m": {"effective": 6}}}
    asked = {"subject": "alice/moods", "results": results, "tasks": {"m": row.task.full_name}}
    outside.import_results(actor=people.actor("bob"), **asked)
    outside.import_results(actor=people.actor("alice"), **asked)
    assert score_of(row) is None
    own = judged(people, row, None)
    assert judging_of(row) == own
    judged(people, row, 0.9)
    judged(people, row, 0.3, settings={"shots": 5})
    outside.import_results(actor=people.actor("bob"), **asked)
    assert score_of(row) == own
    assert judging_of(row) is None
    put(people.alice, row.task, {"test.jsonl": b'{"text": "a day", "label": "yes"}\n{"text": "b", "label": "no"}\n'})
    later = trees.resolve_commit(row.task, "main").sha
    row_later = Teaching.objects.get(pk=row.pk)
    row_later.task_sha = later
    assert score_of(row_later) is None


def test_a_strangers_score_of_the_base_is_not_the_bases(people: People, base: Repo) -> None:
    row = taught(people)
    results = {"results": {"m": {"acc,none": 0.99}}, "n-samples": {"m": {"effective": 6}}}
    outside.import_results(
        actor=people.actor("charlie"), subject="acme/tiny", results=results, tasks={"m": row.task.full_name}
    )
    assert base_score_of(row) is None


def test_a_change_is_shown_only_between_scores_of_the_same_test_and_metric(people: People, base: Repo) -> None:
    first, second = taught(people), taught(people, 1)
    assert before(people.actor("alice"), second) == first
    judged(people, first, 0.5)
    judged(people, second, 0.75)
    assert change_since(first, second) == 0.25
    Evaluation.objects.filter(subject_sha=second.result_sha).update(metric="macro_f1")
    assert change_since(first, second) is None
    Evaluation.objects.filter(subject_sha=second.result_sha).update(metric="accuracy")
    put(people.alice, first.task, {"test.jsonl": b'{"text": "a day", "label": "yes"}\n{"text": "b", "label": "no"}\n'})
    third = taught(people, 2)
    judged(people, third, 0.8)
    assert change_since(second, third) is None
