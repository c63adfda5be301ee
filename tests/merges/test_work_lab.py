"""Statistics, tuning, comparisons, checkpoints and resuming, as people ask for them; real files and models, tiny."""

import json
from pathlib import Path

import pytest
from django.conf import settings

from adapters.catalog import comparing, manifests
from adapters.models import Lineage
from hub.accounts.actor import actor_for
from hub.jobs.models import Job, State
from hub.repos import trees
from hub.repos.lifecycle import delete_repo
from hub.repos.models import Repo
from hub.rights import Denied
from hub.store import objects
from merges.models import Merge, MergeComparison
from merges.recipes import RecipeError
from merges.work import fetching
from merges.work.comparing import ask_for_comparison, publish_winner
from merges.work.measuring import ask_for_statistics
from merges.work.merging import ask_for_merge
from merges.work.showing import recipe_for, report_for
from merges.work.subjects import BadRequest
from tests.merges.test_work_merging import recipe
from tests.people import People
from tests.publishing import do_jobs, publish
from tests.pure.tiny_models import write_encoder

INPUTS = ["bob/adapter-moods", "bob/adapter-tastes"]


def ended(job: Job, state: str = State.SUCCEEDED) -> Job:
    do_jobs()
    job.refresh_from_db()
    assert job.state == state, job.error
    return job


def files_of(repo: Repo) -> dict[str, trees.File]:
    repo.refresh_from_db()
    return trees.list_files(repo, trees.resolve_commit(repo))


def test_statistics_are_published_and_others_merge_with_them(people: People, lab: dict[str, Repo]) -> None:
    alice, bob = actor_for(people.alice), actor_for(people.bob)
    with pytest.raises(RecipeError, match="has no fisher statistics"):
        ask_for_merge(actor=alice, raw=recipe("fisher"), target="alice/f")
    with pytest.raises(Denied):
        ask_for_statistics(actor=alice, adapter=INPUTS[0])
    for name in INPUTS:
        ended(ask_for_statistics(actor=bob, adapter=name, examples=16))
    assert "statistics/fisher.safetensors" in files_of(lab["adapter-moods"])
    for method in ("fisher", "regmean", "soft_moe"):
        merge = ask_for_merge(actor=alice, raw=recipe(method), target=f"alice/by-{method}")
        ended(merge.job)
    made = files_of(Repo.objects.get(name="by-soft_moe"))
    assert {"routing.json", "router.safetensors"} <= set(made)
    assert b"soft mixture" in made["README.md"].read()
    select = {"tasks": ["acme/moods", "acme/tastes"], "split": "train", "examples": 20}
    with pytest.raises(RecipeError, match="have to be taught"):
        ask_for_merge(actor=alice, raw=recipe("soft_moe", parameters={"router": "per_module"}), target="alice/no")
    raw = recipe("soft_moe", select=select, parameters={"router": "per_module"})
    ended(ask_for_merge(actor=alice, raw=raw, target="alice/each").job)
    each = files_of(Repo.objects.get(name="each"))
    assert json.loads(each["routing.json"].read())["routers"] == "per_module"
    assert b".bias" in each["router.safetensors"].read()
    raw = recipe("soft_moe", select=select)
    merge = ask_for_merge(actor=alice, raw=raw, target="alice/taught")
    ended(merge.job)
    merge.refresh_from_db()
    assert (merge.report["router"]["tasks"], merge.report["router"]["examples"]) == (2, 40)
    taught = files_of(Repo.objects.get(name="taught"))
    assert json.loads(taught["routing.json"].read())["router"] == merge.report["router"]
    assert b"router was taught" in taught["README.md"].read()


def test_lambda_is_chosen_on_validation_and_said(people: People, lab: dict[str, Repo]) -> None:
    raw = recipe("task_arithmetic", select={"tasks": ["acme/moods"], "split": "train", "grid": {"lambda": [0.1, 1.0]}})
    merge = ask_for_merge(actor=actor_for(people.alice), raw=raw, target="alice/tuned")
    ended(merge.job)
    merge.refresh_from_db()
    assert [trial["settings"]["lambda"] for trial in merge.report["trials"]] == [0.1, 1.0]
    best = max(merge.report["trials"], key=lambda trial: (trial["accuracies"]["acme/moods"], -trial["loss"]))
    assert merge.report["recipe"]["parameters"]["lambda"] == best["settings"]["lambda"]
    raw["select"] = {"tasks": ["acme/moods"], "split": "test"}
    Repo.objects.filter(name="moods").update(private=True)
    assert "acme/moods" in str(report_for(actor_for(people.alice), merge))
    assert "acme/moods" not in str(report_for(actor_for(people.charlie), merge))
    assert "acme/moods" not in str(recipe_for(actor_for(people.charlie), merge))
    with pytest.raises(RecipeError, match="test split"):
        ask_for_merge(actor=actor_for(people.alice), raw=raw, target="alice/other")


def test_a_comparison_has_all_controls_and_its_winner_is_one_click(people: People, lab: dict[str, Repo]) -> None:
    alice = actor_for(people.alice)
    row = ask_for_comparison(
        actor=alice,
        inputs=INPUTS,
        methods=["task_arithmetic", "tsv_m", "ties+core"],
        validation=12,
        test=20,
        fresh=True,
    )
    ended(row.job)
    row.refresh_from_db()
    report = row.report
    assert [entry["name"] for entry in report["rows"]] == [
        "base", "best_single", "mean", "random", "oracle", "ensemble", "fresh", "task_arithmetic", "tsv_m", "ties+core",
    ]  # fmt: skip
    oracle = next(entry for entry in report["rows"] if entry["name"] == "oracle")
    assert oracle["normalised"] == pytest.approx(1.0)
    assert {len(method["trials"]) for method in report["methods"]} == {8, 7}
    assert all(0 <= share <= 1 for method in report["methods"] for share in method["geometry"]["alignment"])
    assert report["interference"] > 0
    assert report["chosen_on"] == {"acme/moods": "train", "acme/tastes": "train"}
    assert MergeComparison.objects.visible_to(actor_for(people.charlie)).filter(pk=row.pk).exists()
    merge = publish_winner(actor=alice, comparison=row, target="alice/winner")
    ended(merge.job)
    merge.refresh_from_db()
    winner = next(method for method in report["methods"] if method["name"] == report["winner"])
    assert merge.report["recipe"]["parameters"] == winner["recipe"]["parameters"]
    Repo.objects.filter(name="adapter-moods").update(private=True)
    assert not MergeComparison.objects.visible_to(actor_for(people.charlie)).filter(pk=row.pk).exists()


def test_what_speaks_against_a_comparison(people: People, lab: dict[str, Repo]) -> None:
    alice = actor_for(people.alice)
    for inputs, methods, words in (
        (INPUTS[:1], None, "2 to 16 different"),
        ([INPUTS[0], INPUTS[0]], None, "2 to 16 different"),
        ([INPUTS[0], "bob/absent"], None, "no adapter"),
        (INPUTS, ["soft_moe"], "no single update"),
        (INPUTS, ["fisher"], "statistics"),
        (INPUTS, ["nonsense"], "no method"),
    ):
        with pytest.raises((BadRequest, RecipeError), match=words):
            ask_for_comparison(actor=alice, inputs=inputs, methods=methods)
    assert not MergeComparison.objects.exists()


def test_adapters_become_a_checkpoint_and_checkpoints_merge(
    people: People,
    lab: dict[str, Repo],
    tmp_path: Path,
) -> None:
    alice = actor_for(people.alice)
    whole = recipe("task_arithmetic", base="acme/tiny", output={"form": "checkpoint"}, parameters={"lambda": 1.0})
    ended(ask_for_merge(actor=alice, raw=whole, target="alice/whole").job)
    repo = Repo.objects.get(name="whole")
    assert repo.kind == "base"
    assert {"model.safetensors", "config.json", "tokenizer.json", "merge_report.json"} <= set(files_of(repo))
    publish(people.bob, "tuned", write_encoder(tmp_path / "tuned", seed=3))
    both = {
        "merge_method": "ties", "base": "acme/tiny", "inputs": [{"model": "alice/whole"}, {"model": "bob/tuned"}, INPUTS[0]],
    }  # fmt: skip
    merge = ask_for_merge(actor=alice, raw=both, target="alice/mixed")
    ended(merge.job)
    merge.refresh_from_db()
    assert [entry["method"] for entry in merge.report["inputs"]][:2] == ["checkpoint", "checkpoint"]
    assert {row.parent.name for row in Lineage.objects.filter(child__name="mixed", relation="merge")} == {
        "whole", "tuned", "adapter-moods",
    }  # fmt: skip


def test_whole_models_are_read_where_they_are_stored(
    people: People, lab: dict[str, Repo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes as from fetched files, none of the inputs on this machine, and a changed object is noticed."""
    for number in (3, 4):
        publish(people.bob, f"tuned-{number}", write_encoder(tmp_path / f"tuned-{number}", seed=number))
    raw = {"merge_method": "ties", "base": "acme/tiny", "inputs": [{"model": f"bob/tuned-{n}"} for n in (3, 4)]}
    alice, cache = actor_for(people.alice), Path(settings.STATE) / "cache"
    ended(ask_for_merge(actor=alice, raw=raw, target="alice/fetched").job)
    monkeypatch.setattr(fetching, "WORTH_IT", 0)
    weights = [files_of(Repo.objects.get(name=name))["model.safetensors"].blob for name in ("tuned-3", "tuned-4")]
    assert all(weights)
    for blob in weights:
        (cache / blob.sha256[:2] / blob.sha256).unlink()
    ended(ask_for_merge(actor=alice, raw=raw, target="alice/streamed").job)
    assert not any((cache / blob.sha256[:2] / blob.sha256).exists() for blob in weights)
    once, again = (files_of(Repo.objects.get(name=name)) for name in ("fetched", "streamed"))
    assert once["model.safetensors"].read() == again["model.safetensors"].read()
    sides = [Repo.objects.get(name=name) for name in ("tuned-3", "tuned-4")]
    ends = [(repo, trees.resolve_commit(repo)) for repo in sides]
    for pair in comparing.pairs(alice, *ends[0], *ends[1]):
        comparing.compared(alice, pair, ask=True)
    do_jobs()
    assert set(manifests.tensor_hashes([blob.sha256 for blob in weights])) == {blob.sha256 for blob in weights}
    for blob in weights:
        (cache / blob.sha256[:2] / blob.sha256).unlink()
    data = bytearray(objects.read_range(weights[0].key, 0, weights[0].size))
    data[-1] ^= 1
    objects.put(weights[0].key, bytes(data))
    try:
        merge = ask_for_merge(actor=alice, raw=raw, target="alice/changed")
        assert "not what they were" in ended(merge.job, State.FAILED).error
    finally:
        data[-1] ^= 1
        objects.put(weights[0].key, bytes(data))


def test_a_run_whose_worker_died_goes_on(
    people: People,
    lab: dict[str, Repo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second attempt finds the pieces of the first and gives the same bytes as a run that never stopped."""
    from merges.running import merging

    alice = actor_for(people.alice)
    ended(ask_for_merge(actor=alice, raw=recipe(), target="alice/once").job)
    merge = ask_for_merge(actor=alice, raw=recipe(), target="alice/twice")
    worked: list[int] = []
    original = merging._Work.merge

    def dying(self: object, number: int, *rest: object) -> None:
        if number == 3 and 3 not in worked:
            worked.append(number)
            raise MemoryError("killed")
        worked.append(number)
        original(self, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(merging._Work, "merge", dying)
    ended(merge.job)
    assert worked.count(0) == worked.count(2) == 1
    assert merge.job.attempt == 2
    once, twice = (files_of(Repo.objects.get(name=name)) for name in ("once", "twice"))
    assert once["adapter_model.safetensors"].read() == twice["adapter_model.safetensors"].read()
    assert not (Path(settings.STATE) / "merging" / str(merge.job_id)).exists()


def test_an_input_that_goes_while_queued_is_said(people: People, lab: dict[str, Repo]) -> None:
    merge = ask_for_merge(actor=actor_for(people.alice), raw=recipe(), target="alice/both")
    Repo.objects.filter(name="adapter-tastes").update(private=True)
    shown = recipe_for(actor_for(people.alice), merge)["inputs"]
    assert [entry["adapter"] for entry in shown] == ["bob/adapter-moods", "private"]
    assert "no longer there for you" in ended(merge.job, State.FAILED).error
    other = ask_for_merge(actor=actor_for(people.bob), raw=recipe(), target="bob/both")
    delete_repo(actor=actor_for(people.bob), repo=lab["adapter-tastes"])
    assert "no longer there" in ended(other.job, State.FAILED).error
    assert not Merge.objects.exclude(result_sha="").exists()


def test_a_full_disk_is_said_in_a_sentence(
    people: People,
    lab: dict[str, Repo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from merges.running import pieces

    def full(*_rest: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    merge = ask_for_merge(actor=actor_for(people.alice), raw=recipe(), target="alice/both")
    monkeypatch.setattr(pieces.np, "savez", full)
    assert "disk is full" in ended(merge.job, State.FAILED).error


def test_mergekits_methods_we_lack_are_named_before_any_work(people: People, lab: dict[str, Repo]) -> None:
    raw = json.dumps({"merge_method": "karcher", "models": [{"model": INPUTS[0]}, {"model": INPUTS[1]}]})
    with pytest.raises(RecipeError, match="karcher"):
        ask_for_merge(actor=actor_for(people.alice), raw=raw, target="alice/x")
