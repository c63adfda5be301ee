"""Merges and evaluations as people ask for them, on real files and real models, tiny."""

import pytest

from adapters.models import Lineage
from hub.accounts.actor import actor_for
from hub.jobs import queue
from hub.jobs.models import Job, State
from hub.repos import trees
from hub.repos.models import Kind, Repo
from hub.review.models import Check
from hub.rights import Denied
from merges.evaluation.metrics import accuracy
from merges.models import Evaluation, Merge
from merges.recipes import RecipeError
from merges.work.evaluating import ask_for_evaluation
from merges.work.merging import ask_for_merge
from merges.work.subjects import BadRequest
from tests.merges.conftest import TASK_CARD
from tests.people import People, make_repo, put
from tests.publishing import do_jobs


def recipe(method: str = "ties", **more: object) -> dict[str, object]:
    inputs = [{"adapter": "bob/adapter-moods", "weight": 1.0}, {"adapter": "bob/adapter-tastes", "weight": 0.5}]
    return {"merge_method": method, "inputs": inputs} | more


def test_merge_and_evaluate(people: People, lab: dict[str, Repo]) -> None:
    alice = actor_for(people.alice)
    merge = ask_for_merge(actor=alice, raw=recipe(), target="alice/both")
    do_jobs()
    merge.refresh_from_db()
    job = Job.objects.get(pk=merge.job_id)
    assert job.state == State.SUCCEEDED, job.error
    repo = Repo.objects.get(pk=merge.repo_id)
    files = trees.list_files(repo, trees.resolve_commit(repo))
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "recipe.yaml"} <= set(files)
    assert "heads/bob--adapter-moods.safetensors" in files
    assert ", 20" in files["README.md"].read().decode().split("of 2 adapters")[0], "the method's paper and year"
    assert repo.head == merge.result_sha
    assert {(row.parent.full_name, row.relation) for row in Lineage.objects.filter(child=repo)} >= {
        ("bob/adapter-moods", "merge"), ("bob/adapter-tastes", "merge"), ("acme/tiny", "adapter"),
    }  # fmt: skip
    assert not Check.objects.filter(repo=repo, verdict="fail").exists()
    for subject in ("acme/tiny", "bob/adapter-moods", "alice/both"):
        ask_for_evaluation(actor=alice, subject=subject, task="acme/moods")
    assert ask_for_evaluation(actor=alice, subject="alice/both", task="acme/moods") in Evaluation.objects.all()
    do_jobs()
    rows = {row.subject.full_name: row for row in Evaluation.objects.all()}
    assert len(rows) == 3
    for name, row in rows.items():
        assert row.score is not None, (name, row.job and row.job.error)
        assert row.n == 24
        assert 0 <= row.score <= 1
    assert rows["acme/tiny"].protocol == "linear-probe"
    assert rows["alice/both"].protocol == rows["bob/adapter-moods"].protocol == "head"
    confusion = rows["bob/adapter-moods"].scores["confusion"]
    assert sum(map(sum, confusion)) == 24
    assert accuracy(["a"], ["a"]) == 1


def test_what_speaks_against_a_merge_is_said_before_any_work(people: People, lab: dict[str, Repo]) -> None:
    alice = actor_for(people.alice)
    for raw in (
        recipe(inputs=[{"adapter": "bob/adapter-moods"}]),
        recipe(inputs=[{"adapter": "bob/adapter-moods", "weight": float("nan")}, {"adapter": "bob/adapter-tastes"}]),
        recipe(parameters={"density": 7}),
        recipe("nonsense"),
    ):
        with pytest.raises(RecipeError):
            ask_for_merge(actor=alice, raw=raw, target="alice/x")
    with pytest.raises(BadRequest, match="no adapter"):
        ask_for_merge(
            actor=alice,
            raw=recipe(inputs=[{"adapter": "bob/absent"}, {"adapter": "bob/adapter-tastes"}]),
            target="alice/x",
        )
    with pytest.raises(Denied):
        ask_for_merge(actor=alice, raw=recipe(), target="charlie/x")
    assert not Merge.objects.exists()
    assert not Repo.objects.filter(name="x").exists()


def test_private_inputs_make_a_private_result(people: People, lab: dict[str, Repo]) -> None:
    Repo.objects.filter(name="adapter-moods").update(private=True)
    with pytest.raises(BadRequest):
        ask_for_merge(actor=actor_for(people.charlie), raw=recipe(), target="charlie/x")
    merge = ask_for_merge(actor=actor_for(people.bob), raw=recipe(), target="bob/hidden", private=False)
    assert merge.repo.private
    make_repo(people.bob, "open")
    with pytest.raises(BadRequest, match="private"):
        ask_for_merge(actor=actor_for(people.bob), raw=recipe(), target="bob/open")


def test_evaluation_without_a_test_split_is_refused(people: People, lab: dict[str, Repo]) -> None:
    task = make_repo(people.alice, "no-test", kind=Kind.TASK)
    put(people.alice, task, {"README.md": TASK_CARD.encode(), "train.jsonl": b'{"text": "a", "label": "yes"}\n'})
    with pytest.raises(BadRequest, match="no test split"):
        ask_for_evaluation(actor=actor_for(people.alice), subject="bob/adapter-moods", task="alice/no-test")


def test_a_cancelled_merge_publishes_nothing(people: People, lab: dict[str, Repo]) -> None:
    alice = actor_for(people.alice)
    merge = ask_for_merge(actor=alice, raw=recipe(), target="alice/both")
    queue.cancel(actor=alice, job=merge.job)
    do_jobs()
    merge.refresh_from_db()
    assert merge.result_sha == ""
    assert merge.repo.head == ""
    assert Job.objects.get(pk=merge.job_id).state == State.CANCELLED
