"""A few examples become a published specialist, on real files and tiny real models, through the one door."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.models import Lineage, Relation
from hub.jobs import queue
from hub.jobs.models import Job, State
from hub.repos import trees
from hub.repos.models import Kind, Repo
from hub.review.models import Check
from hub.rights import Denied
from merges.models import Evaluation, Teaching
from merges.work.subjects import BadRequest, pin
from merges.work.teaching import comparing, starts
from merges.work.teaching.asking import Order, ask_for_teaching, estimate_for
from merges.work.teaching.data import BadExamples, read_task
from merges.work.teaching.judged import base_score_of, score_of
from merges.work.teaching.showing import shown_start
from tests.merges.conftest import write_task
from tests.people import People
from tests.publishing import do_job, do_jobs, publish
from tests.pure.tiny_models import opinions, write_causal, write_encoder

FAST = {"rank": 4, "epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "max_length": 16, "folds": 2}


def distinct(count: int, start: int = 0) -> list[dict[str, str]]:
    """Learnable examples no two of which are alike."""
    return [
        {"text": f"{row.text} {'ab' * (number % 9)}{'xyz'[number % 3] * (number // 9 + 1)}", "label": row.label}
        for number, row in enumerate(opinions(count, start), start)
    ]


@pytest.fixture
def base(people: People, tmp_path: Path) -> Repo:
    return publish(people.acme, "tiny", write_encoder(tmp_path / "base"), by=people.alice)


def order(**changes: Any) -> Order:
    return Order(**({"target": "alice/moods", "given": distinct(40), "settings": FAST} | changes))


def test_examples_become_a_specialist_with_task_card_and_scores(people: People, base: Repo) -> None:
    row = ask_for_teaching(actor=people.actor("alice"), order=order(settings=FAST | {"epochs": 12, "patience": 12}))
    assert row.task.full_name == "alice/moods-examples"
    assert row.base == base
    assert row.estimate["seconds"] > 0
    assert row.job.queue == "heavy"
    do_jobs()
    row.refresh_from_db()
    assert row.job.state == State.SUCCEEDED, row.job.error
    repo = Repo.objects.get(pk=row.repo_id)
    head = trees.resolve_commit(repo, row.result_sha)
    files = trees.list_files(repo, head)
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors", "labels.json"}
    config = json.loads(files["adapter_config.json"].read())
    assert (config["base_model_name_or_path"], config["r"]) == ("acme/tiny", 4)
    card = files["README.md"].read().decode()
    for words in (
        "## Data",
        "## Recipe",
        "## Scores",
        "## Cost",
        "seed 0",
        "95 % interval",
        "core-seconds",
        "30 training",
        "First, in closed form",
    ):
        assert words in card, words
    assert repo.kind == Kind.ADAPTER
    assert not Check.objects.filter(repo=repo, sha=head.sha, verdict="fail").exists()
    assert not Check.objects.filter(repo=row.task, verdict="fail").exists()
    assert Lineage.objects.filter(child=repo, parent=row.task, relation=Relation.TAUGHT_ON).exists()
    scores = {item.subject_id: item for item in Evaluation.objects.filter(task=row.task)}
    assert scores[repo.pk].n == 10
    assert scores[repo.pk].score >= 0.7
    assert base.pk in scores
    folds = {point["fold"] for point in row.curve}
    assert folds == {0, 1, 2}
    assert row.report["held_back"]["n"] == 30
    assert row.report["memory"] > 0


def test_teaching_again_makes_a_revision_and_keeps_the_test(people: People, base: Repo) -> None:
    alice = people.actor("alice")
    first = ask_for_teaching(actor=alice, order=order(given=distinct(24)))
    do_jobs()
    second = ask_for_teaching(actor=alice, order=order(given=distinct(24, 40)))
    do_jobs()
    first.refresh_from_db()
    second.refresh_from_db()
    assert second.repo == first.repo
    assert second.task == first.task
    assert second.examples > first.examples
    tests = [trees.get_file(first.task, trees.resolve_commit(first.task, sha), "test.jsonl").sha
             for sha in (first.task_sha, second.task_sha)]  # fmt: skip
    assert tests[0] == tests[1]
    assert first.result_sha != second.result_sha
    assert list(trees.resolve_commit(second.repo, second.result_sha).parents) == [first.result_sha]
    assert Evaluation.objects.filter(subject=second.repo, score__isnull=False).count() == 2


def with_validation(folder: Path) -> Path:
    """A task that holds examples back for choosing."""
    write_task(folder)
    rows = [{"text": f"{row.text} warm", "label": row.label} for row in opinions(24, 96)]
    (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_an_existing_task_is_taught_from_and_auto_tries_a_relative(people: People, base: Repo, tmp_path: Path) -> None:
    folder = with_validation(tmp_path / "task")
    task = publish(people.acme, "moods", folder, kind=Kind.TASK, by=people.alice)
    alice = people.actor("alice")
    first = ask_for_teaching(actor=alice, order=order(target="alice/one", given=None, task="acme/moods", start="base"))
    do_jobs()
    second = ask_for_teaching(actor=people.actor("bob"), order=order(target="bob/two", given=None, task="acme/moods"))
    do_jobs()
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.task == second.task == task
    assert first.start["chosen"] == "base"
    assert [trial["name"] for trial in second.start["tried"]] == ["base", "alice/one"]
    assert second.start["why"]
    named = ask_for_teaching(
        actor=alice, order=order(target="alice/three", given=None, task="acme/moods", start="alice/one")
    )
    do_jobs()
    named.refresh_from_db()
    assert named.job.state == State.SUCCEEDED, named.job.error
    assert named.start["chosen"] == "alice/one"
    assert "seen" not in named.start
    assert Lineage.objects.filter(
        child=named.repo, child_sha=named.result_sha, parent=first.repo, relation=Relation.BEGUN_FROM
    ).exists()


def test_a_start_that_knows_the_examples_is_not_judged_on_them(people: People, base: Repo, tmp_path: Path) -> None:
    """Without a validation split the examples themselves judge: whoever was taught on them would look better."""
    publish(people.acme, "moods", write_task(tmp_path / "task"), kind=Kind.TASK, by=people.alice)
    alice = people.actor("alice")
    ask_for_teaching(actor=alice, order=order(target="alice/one", given=None, task="acme/moods", start="base"))
    do_jobs()
    tried = ask_for_teaching(actor=people.actor("bob"), order=order(target="bob/two", given=None, task="acme/moods"))
    do_jobs()
    tried.refresh_from_db()
    assert (tried.start["chosen"], tried.start["tried"]) == ("base", [])
    assert "taught on examples that would have judged them: alice/one" in tried.start["why"]
    assert tried.report["held_back"]["n"] > 0
    again = ask_for_teaching(
        actor=alice, order=order(target="alice/one", given=None, task="acme/moods", start="alice/one")
    )
    do_jobs()
    again.refresh_from_db()
    assert again.job.state == State.SUCCEEDED, again.job.error
    assert again.start["seen"] is True
    assert again.report["held_back"] is None
    card = trees.list_files(again.repo, trees.resolve_commit(again.repo, again.result_sha))["README.md"].read().decode()
    assert "No cross-validated accuracy: the start was taught on some of these examples before." in card
    # what was begun from one that knows them knows them too, on whatever it was taught since
    own = ask_for_teaching(actor=alice, order=order(target="alice/far", given=distinct(24, 200), start="alice/one"))
    do_jobs()
    Lineage.objects.filter(child=own.repo, relation=Relation.TAUGHT_ON, parent=tried.task).delete()
    rows = read_task(tried.task, trees.resolve_commit(tried.task, tried.task_sha)).split("train")
    found = [pin(name, alice, kinds=(Kind.ADAPTER,)) for name in ("alice/one", "alice/far")]
    assert starts.knowing(alice, found, rows) == {item.repo.pk for item in found}
    other = [replace(row, text=f"{row.text} cold cold") for row in rows]
    assert starts.knowing(alice, found, other) == set()


def test_a_relative_that_knows_the_test_is_no_start(people: People, base: Repo) -> None:
    alice = people.actor("alice")
    rows = distinct(40)
    taught = ask_for_teaching(actor=alice, order=order(given=rows, test_share=0.0, settings=FAST | {"epochs": 1}))
    do_job(taught.job)
    other = ask_for_teaching(actor=people.actor("bob"), order=order(target="bob/other", given=rows, start="auto"))
    do_jobs()
    other.refresh_from_db()
    known = read_task(other.task, trees.resolve_commit(other.task, other.task_sha))
    assert known.split("test") and comparing._nearest(other, people.actor("bob"), known) is None
    assert other.start["chosen"] == "base"
    assert "taught on texts this task tests with: alice/moods" in other.start["why"]
    Repo.objects.filter(name="moods").update(private=True)
    assert "alice/moods" not in str(shown_start(people.actor("charlie"), other))


def test_merges_and_lorahub_of_the_nearest_are_starts(
    people: People, base: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "LORAHUB_TRIES", 3)
    publish(people.acme, "moods", with_validation(tmp_path / "task"), kind=Kind.TASK, by=people.alice)
    alice = people.actor("alice")
    with pytest.raises(BadRequest, match="no adapter 'alice/none'"):
        ask_for_teaching(actor=alice, order=order(given=None, task="acme/moods", start="alice/none"))
    for name, seed in (("one", 0), ("two", 1)):
        ask_for_teaching(
            actor=alice, order=order(target=f"alice/{name}", given=None, task="acme/moods", start="base", seed=seed)
        )
    do_jobs()
    rows = {}
    for start in ("auto", "merge", "lorahub"):
        rows[start] = ask_for_teaching(
            actor=people.actor("bob"), order=order(target=f"bob/{start}", given=None, task="acme/moods", start=start)
        )
        do_job(rows[start].job)
        rows[start].refresh_from_db()
        assert rows[start].job.state == State.SUCCEEDED, rows[start].job.error
    tried = [trial["name"] for trial in rows["auto"].start["tried"]]
    assert tried[0] == "base"
    assert {"alice/one", "alice/two"} < set(tried)
    assert tried[-1].startswith("mean of ")
    assert not any(trial["error"] for trial in rows["auto"].start["tried"])
    for start in ("merge", "lorahub"):
        sources = rows[start].start["sources"]
        assert {source["name"] for source in sources} == {"alice/one", "alice/two"}
        begun = Lineage.objects.filter(child=rows[start].repo, relation=Relation.BEGUN_FROM)
        assert sorted(begun.values_list("weight", flat=True)) == sorted(source["weight"] for source in sources)
    assert [source["weight"] for source in rows["merge"].start["sources"]] == [0.5, 0.5]
    Repo.objects.filter(name="two").update(private=True)
    assert "alice/two" not in str(shown_start(people.actor("charlie"), rows["lorahub"]))
    assert "alice/two" in str(shown_start(alice, rows["lorahub"]))


def test_a_causal_base_learns_too(people: People, tmp_path: Path) -> None:
    publish(people.acme, "tiny-lm", write_causal(tmp_path / "base"), by=people.alice)
    asked = order(base="acme/tiny-lm", settings=FAST | {"max_length": 32, "template": "Q: {text} A:"})
    row = ask_for_teaching(actor=people.actor("alice"), order=asked)
    assert row.settings["method"] == "ia3"
    do_jobs()
    row.refresh_from_db()
    assert row.job.state == State.SUCCEEDED, row.job.error
    score = score_of(row)
    assert score == Evaluation.objects.get(subject=row.repo) and base_score_of(row) is not None
    assert (score.protocol, score.settings) == ("label-likelihood", {"template": "Q: {text} A:"})
    card = trees.get_file(row.repo, trees.resolve_commit(row.repo, row.result_sha), "README.md").read().decode()
    assert '- Prompt: `"Q: {text} A:"`' in card and "unlikelihood of wrong labels (weight 1)" in card
    assert "10 test texts" in card and "It has not been measured" not in card


def test_a_card_tells_what_was_done_and_not_what_was_asked(people: People, base: Repo) -> None:
    first = ask_for_teaching(actor=people.actor("alice"), order=order())
    do_jobs()
    first.refresh_from_db()
    few = order(
        target="alice/few", given=distinct(16, 50), start="alice/moods", settings=FAST | {"rank": 8, "folds": 0}
    )
    row = ask_for_teaching(actor=people.actor("alice"), order=few)
    do_jobs()
    row.refresh_from_db()
    assert row.job.state == State.SUCCEEDED, row.job.error
    assert (row.settings["rank"], row.report["settings"]["rank"]) == (8, 4)
    card = trees.get_file(row.repo, trees.resolve_commit(row.repo, row.result_sha), "README.md").read().decode()
    assert "rank 4" in card and "It has not been measured: there is no test split" in card
    assert row.curve[-1]["epoch"] == row.report["epochs"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{"text": "a", "label": "x"}] , "Give at least two"),
        ([{"text": f"t{n} words", "label": "x"} for n in range(5)], "nothing to tell apart"),
        ([{"text": f"t{n} words", "label": f"label {n}"} for n in range(300)], "300 different labels"),
        ([{"text": "good one", "label": "Yes"}, {"text": "bad one", "label": "no"}, {"text": "fine", "label": "yes "},
          {"text": "nice", "label": "yes"}], "differ only by case or spaces"),
        ([], "no examples"),
        ("text,label\ncaf\xe9,yes\n".encode("latin-1"), "Line 2 is not valid UTF-8"),
        (b"\xff\xfet\0e\0x\0t\0", "UTF-16"),
        (b"body,kind\na,b\n", "columns found are 'body', 'kind'"),
        (b'[{"text": "\\ud800 one", "label": "a"}]', "half of a letter"),
    ],
)  # fmt: skip
def test_examples_nothing_can_be_taught_with(people: People, base: Repo, given: Any, words: str) -> None:
    with pytest.raises(BadExamples, match=words):
        ask_for_teaching(actor=people.actor("alice"), order=order(given=given))
    assert not Repo.objects.filter(name__startswith="moods").exists()
    assert not Teaching.objects.exists()


def test_what_cannot_be_asked_for(people: People, base: Repo, tmp_path: Path) -> None:
    alice, charlie = people.actor("alice"), people.actor("charlie")
    publish(people.alice, "secret", write_task(tmp_path / "task"), kind=Kind.TASK, private=True)
    with pytest.raises(BadRequest, match="no task 'alice/secret'"):
        ask_for_teaching(actor=charlie, order=order(target="charlie/x", given=None, task="alice/secret"))
    with pytest.raises(Denied):
        ask_for_teaching(actor=charlie, order=order(target="alice/x"))
    with pytest.raises(BadRequest, match="owner/name"):
        ask_for_teaching(actor=alice, order=order(target="x"))
    with pytest.raises(BadRequest, match="rank"):
        ask_for_teaching(actor=alice, order=order(settings={"rank": 0}))
    with pytest.raises(BadRequest, match="no setting 'colour'"):
        ask_for_teaching(actor=alice, order=order(settings={"colour": 3}))
    with pytest.raises(BadRequest, match="Give examples"):
        ask_for_teaching(actor=alice, order=order(given=None))
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "bare" / name).write_bytes((tmp_path / "base" / name).read_bytes())
    publish(people.alice, "bare", tmp_path / "bare")
    with pytest.raises(BadRequest, match="no tokenizer"):
        ask_for_teaching(actor=alice, order=order(base="alice/bare"))
    hidden = ask_for_teaching(actor=alice, order=order(target="alice/hidden", given=None, task="alice/secret"))
    assert hidden.repo.private
    assert "secret" not in hidden.job.title


@pytest.mark.parametrize("settings", [{"warm_head": False, "folds": 0}, {}])
def test_a_loss_that_is_no_number_stops_and_says_so(people: People, tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = write_encoder(tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    save_file(weights | {name: torch.full_like(weights[name], 3e38)}, folder / "model.safetensors", {"format": "pt"})
    publish(people.acme, "wild", folder, by=people.alice)
    asked = order(base="acme/wild", settings=FAST | settings)
    row = ask_for_teaching(actor=people.actor("alice"), order=asked)
    do_job(row.job)
    row.refresh_from_db()
    assert row.job.state == State.FAILED
    assert "The loss was" in row.job.error
    assert "before anything was trained" in row.job.error
    assert row.job.attempt == 1
    assert row.result_sha == ""


def test_private_examples_never_join_what_is_public(people: People, base: Repo) -> None:
    first = ask_for_teaching(actor=people.actor("alice"), order=order(private=False))
    Job.objects.filter(pk=first.job_id).update(state=State.CANCELLED)
    tasks = Repo.objects.tasks().count()
    with pytest.raises(BadRequest, match="alice/moods is public"):
        ask_for_teaching(actor=people.actor("alice"), order=order(private=True))
    more = order(target="alice/other", task="alice/moods-examples", given=distinct(8, 60), private=True)
    with pytest.raises(BadRequest, match="moods-examples is public"):
        ask_for_teaching(actor=people.actor("alice"), order=more)
    assert Repo.objects.tasks().count() == tasks


def test_a_task_made_private_meanwhile_stays_out_of_a_public_card(people: People, base: Repo) -> None:
    row = ask_for_teaching(actor=people.actor("alice"), order=order(private=False))
    Repo.objects.filter(pk=row.task_id).update(private=True)
    do_job(row.job)
    row.refresh_from_db()
    assert "made private meanwhile" in row.job.error
    assert row.result_sha == ""


def test_a_job_whose_examples_are_gone_says_so(people: People, base: Repo) -> None:
    row = ask_for_teaching(actor=people.actor("alice"), order=order())
    row.task.delete()
    do_job(row.job)
    job = Job.objects.get(pk=row.job_id)
    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert "deleted meanwhile" in job.error


def test_more_examples_do_not_split_a_label_by_its_letters(people: People, base: Repo) -> None:
    ask_for_teaching(actor=people.actor("alice"), order=order())
    do_jobs()
    loud = [row | {"label": row["label"].upper()} for row in distinct(8, 60)]
    with pytest.raises(BadExamples, match="differ only by case or spaces"):
        ask_for_teaching(actor=people.actor("alice"), order=order(given=loud))
    again = ask_for_teaching(actor=people.actor("alice"), order=order(given=loud, join=True))
    assert again.examples == 38


def test_cancelled_publishes_nothing(people: People, base: Repo) -> None:
    row = ask_for_teaching(actor=people.actor("alice"), order=order())
    Job.objects.filter(pk=row.job_id).update(cancel_requested=True)
    do_job(row.job)
    row.refresh_from_db()
    assert row.job.state == State.CANCELLED
    assert row.result_sha == ""
    with pytest.raises(Denied):
        queue.cancel(actor=people.actor("charlie"), job=row.job)


def test_the_estimate_learns_from_what_was_measured(people: People, base: Repo) -> None:
    from merges.training.settings import Settings
    from merges.work.subjects import pin
    from merges.work.teaching.data import read_task

    row = ask_for_teaching(actor=people.actor("alice"), order=order())
    rows = read_task(row.task, trees.resolve_commit(row.task, row.task_sha)).split("train")
    pinned = pin("acme/tiny", people.actor("alice"), kinds=(Kind.BASE,))
    before = estimate_for(pinned, Settings.from_dict(row.settings), rows)
    Teaching.objects.filter(pk=row.pk).update(result_sha="0" * 40, report={"speed": before.flops})
    assert estimate_for(pinned, Settings.from_dict(row.settings), rows).seconds == pytest.approx(5, abs=1.1)
