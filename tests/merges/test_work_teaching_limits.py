"""How much one person may have taught, and how many of a task's examples."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from hub.jobs.models import Job, State
from hub.repos import lifecycle, trees
from hub.repos.models import Kind, Repo
from merges.models import Teaching, TeachingAsked
from merges.training import intake
from merges.work.teaching.asking import ask_for_teaching
from merges.work.teaching.comparing import ask_for_comparison
from merges.work.teaching.data import BadExamples, rows_taught
from merges.work.teaching.preview import look_ahead
from merges.work.teaching.quota import TooMany, quota_of
from tests.merges.conftest import write_task
from tests.merges.test_work_teaching import order
from tests.people import People
from tests.publishing import do_jobs, publish
from tests.pure.tiny_models import write_encoder


@pytest.fixture
def base(people: People, tmp_path: Path) -> Repo:
    return publish(people.acme, "tiny", write_encoder(tmp_path / "base"), by=people.alice)


def limited(**limits: int) -> Any:
    return override_settings(LIMITS={**settings.LIMITS, **limits})


def test_nobody_floods_the_hub(people: People, base: Repo) -> None:
    with limited(teachings_at_once=1):
        ask_for_teaching(actor=people.actor("alice"), order=order())
        with pytest.raises(TooMany, match="cancel one"):
            ask_for_teaching(actor=people.actor("alice"), order=order(target="alice/other"))
        ask_for_teaching(actor=people.actor("bob"), order=order(target="bob/other"))


def test_a_comparison_waits_in_the_same_line(people: People, base: Repo) -> None:
    row = ask_for_teaching(actor=people.actor("alice"), order=order())
    do_jobs()
    row.refresh_from_db()
    with limited(teachings_at_once=1):
        ask_for_teaching(actor=people.actor("alice"), order=order(target="alice/other"))
        with pytest.raises(TooMany, match="cancel one"):
            ask_for_comparison(actor=people.actor("alice"), row=row)
        do_jobs()
        asked = ask_for_comparison(actor=people.actor("alice"), row=row)
        assert ask_for_comparison(actor=people.actor("alice"), row=row).comparing_id == asked.comparing_id
        with pytest.raises(TooMany, match="cancel one"):
            ask_for_teaching(actor=people.actor("alice"), order=order(target="alice/third"))


def test_a_deleted_specialist_still_counts_for_its_day(people: People, base: Repo) -> None:
    alice = people.actor("alice")
    with limited(teachings_a_day=1):
        row = ask_for_teaching(actor=alice, order=order())
        lifecycle.delete_repo(actor=alice, repo=row.repo)
        assert not Teaching.objects.exists()
        assert (quota_of(people.alice).waiting, quota_of(people.alice).today) == (0, 1)
        with pytest.raises(TooMany, match="Try tomorrow"):
            ask_for_teaching(actor=alice, order=order(target="alice/other"))
        TeachingAsked.objects.update(at="2020-01-01T00:00Z")
        ask_for_teaching(actor=alice, order=order(target="alice/other"))
        assert TeachingAsked.objects.count() == 1, "what counts no more is not kept"


def test_what_is_refused_does_not_count(people: People, base: Repo) -> None:
    with pytest.raises(BadExamples):
        ask_for_teaching(actor=people.actor("alice"), order=order(given=b"one\tgood\n"))
    assert quota_of(people.alice).today == 0


def test_few_examples_of_a_task_are_of_every_label(people: People, base: Repo, tmp_path: Path) -> None:
    task = publish(people.acme, "moods", write_task(tmp_path / "task"), by=people.alice, kind=Kind.TASK)
    asked = order(given=None, task=task.full_name, at_most=10, seed=3)
    found = look_ahead(actor=people.actor("alice"), order=asked)
    assert (found.taught, found.tested, found.labels) == (10, 24, {"no": 5, "yes": 5})
    row = ask_for_teaching(actor=people.actor("alice"), order=asked)
    assert row.examples == 10
    assert Counter(line.label for line in rows_taught(row).split("train")) == {"no": 5, "yes": 5}
    do_jobs()
    row.refresh_from_db()
    assert row.job.state == State.SUCCEEDED
    assert row.report["held_back"]["n"] == 10, "the rest of the task is not looked at"
    made = trees.resolve_commit(row.repo, row.result_sha)
    card = trees.get_file(row.repo, made, "README.md").read().decode()
    assert "taught on this hub with 10 examples of `acme/moods`" in card
    assert "drawn from every label in turn by seed 3" in card
    again = ask_for_teaching(actor=people.actor("alice"), order=order(given=None, at_most=0))
    assert again.examples == 48, "taught again with all of them"


def test_an_existing_task_has_the_same_limits(
    people: People, base: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = publish(people.acme, "moods", write_task(tmp_path / "task"), by=people.alice, kind=Kind.TASK)
    monkeypatch.setattr(intake, "MOST_EXAMPLES", 20)
    asked = order(given=None, task=task.full_name)
    assert [remark.code for remark in look_ahead(actor=people.actor("alice"), order=asked).remarks] == ["too_many"]
    with pytest.raises(BadExamples, match="There are 48 examples; at most 20"):
        ask_for_teaching(actor=people.actor("alice"), order=asked)
    assert not Job.objects.filter(kind="merges.teach").exists()
    row = ask_for_teaching(actor=people.actor("alice"), order=order(given=None, task=task.full_name, at_most=20))
    assert row.examples == 20
