"""Every commit is inspected: facts from the bytes, checks in sentences, tags and lineage."""

import re
from pathlib import Path

import pytest

from adapters.catalog.comparing import compare_files, compared, pairs
from adapters.models import Comparison, Held, Inspection, Lineage
from hub.jobs.models import Job
from hub.repos import trees
from hub.repos.models import Kind, Repo
from hub.repos.policy import Refused
from hub.review.models import Check
from tests.make_adapters import TASK_CARD, lora_config, lora_tensors, unsound_adapters, write_adapter, write_base
from tests.people import People, put
from tests.publishing import publish, push

QUERY = "bert.encoder.layer.0.attention.self.query"


def verdicts(repo: Repo) -> dict[str, str]:
    return dict(Check.objects.filter(repo=repo, sha=repo.head).values_list("name", "verdict"))


def test_an_adapter_of_a_known_base(people: People, tmp_path: Path) -> None:
    base = publish(people.acme, "tiny-bert", write_base(tmp_path / "base"), by=people.alice)
    task = publish_task(people, tmp_path)
    repo = publish(people.bob, "sentiment", write_adapter(tmp_path / "adapter"))
    assert base.kind == Kind.BASE
    assert "fail" not in verdicts(base).values()
    assert repo.facts["method"] == "LoRA"
    assert repo.facts["base"] == "acme/tiny-bert"
    assert 0 < repo.facts["share_of_base"] < 1
    assert {"peft", "lora", "base_model:adapter:acme/tiny-bert", "license:apache-2.0"} <= set(repo.tags)
    assert "fail" not in verdicts(repo).values(), list(Check.objects.filter(repo=repo, verdict="fail").values())
    parents = {(line.parent.full_name, line.relation) for line in Lineage.objects.filter(child=repo)}
    assert parents == {(base.full_name, "adapter"), (task.full_name, "task")}
    assert Job.objects.filter(kind="adapters.inspect").exclude(state="succeeded").count() == 0


def publish_task(people: People, tmp_path: Path) -> Repo:
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "README.md").write_text(TASK_CARD)
    rows = ["good", "bad", "so so"]
    for split in ("train", "test"):
        lines = [f'{{"text": "{split} {text} {n}", "label": "{label}"}}' for n in range(4)
                 for text, label in zip(rows, ("positive", "negative", "neutral"), strict=True)]  # fmt: skip
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return publish(people.acme, "reviews", folder, kind=Kind.TASK, by=people.alice)


def test_a_task_shows_what_is_in_it(people: People, tmp_path: Path) -> None:
    task = publish_task(people, tmp_path)
    assert "fail" not in verdicts(task).values()
    facts = Inspection.objects.get(repo=task, sha=task.head).facts
    assert facts["splits"]["test"]["rows"] == 12
    assert task.facts["rows"] == {"train": 12, "test": 12}


def test_an_unknown_base_is_a_warning(people: People, tmp_path: Path) -> None:
    repo = publish(people.bob, "sentiment", write_adapter(tmp_path / "adapter"))
    assert verdicts(repo)["fits_base"] == "warn"


def test_a_private_base_is_no_base_for_strangers(people: People, tmp_path: Path) -> None:
    publish(people.acme, "tiny-bert", write_base(tmp_path / "base"), by=people.alice, private=True)
    repo = publish(people.charlie, "sentiment", write_adapter(tmp_path / "adapter"))
    assert verdicts(repo)["fits_base"] == "warn"
    assert not Lineage.objects.filter(child=repo).exists()


def test_unsound_adapters_are_told_why(people: People, tmp_path: Path) -> None:
    publish(people.acme, "tiny-bert", write_base(tmp_path / "base"), by=people.alice)
    for name, (config, tensors, finding, verdict) in unsound_adapters().items():
        folder = write_adapter(tmp_path / name, config, tensors)
        repo = publish(people.bob, name, folder)
        check = Check.objects.get(repo=repo, sha=repo.head, name=finding)
        assert check.verdict == verdict, (name, check.summary)
        assert len(check.summary) > 20


def summary(repo: Repo, name: str) -> tuple[str, str]:
    check = Check.objects.get(repo=repo, sha=repo.head, name=name)
    return check.verdict, check.summary


def test_the_letter_nul_is_told_in_words(people: People, tmp_path: Path) -> None:
    """The database keeps no NUL in a text: each place where one may stand gets its sentence, and nothing crashes."""
    nul = "holds the letter NUL"
    named = write_adapter(tmp_path / "named", lora_config() | {"base_model_name_or_path": "a\0b"})
    with pytest.raises(Refused, match=re.escape(nul)):
        publish(people.bob, "named", named)
    labelled = write_adapter(tmp_path / "labelled")
    (labelled / "labels.json").write_text(r'["good", "b\u0000ad"]')
    (labelled / "examples.jsonl").write_text('{"text": "fine"}\n' + r'{"text": "a\u0000b"}')
    repo = publish(people.bob, "labelled", labelled)
    assert summary(repo, "labels")[0] == "warn" and nul in summary(repo, "labels")[1] and "labels" not in repo.facts
    assert "Row 2" in summary(repo, "placed")[1] and nul in summary(repo, "placed")[1]
    base = write_base(tmp_path / "base")
    (base / "config.json").write_text(r'{"model_type": "b\u0000ert"}')
    assert nul in summary(publish(people.acme, "base", base, by=people.alice), "valid_config")[1]
    task = tmp_path / "rows"
    task.mkdir()
    (task / "README.md").write_text(TASK_CARD)
    (task / "train.jsonl").write_text(r'{"text": "a\u0000b", "label": "positive"}' + "\n")
    rows = [r'{"text": "fine", "label": "positive"}', r'{"text": "fine", "label": "nega\u0000tive"}']
    (task / "test.jsonl").write_text("\n".join(rows))
    verdict, said = summary(publish(people.acme, "rows", task, kind=Kind.TASK, by=people.alice), "readable")
    assert verdict == "fail" and "train.jsonl, row 1: " in said and "test.jsonl, row 2: the line " + nul in said
    assert not Job.objects.exclude(state="succeeded").exists()


def test_checks_of_a_change_request_do_not_touch_the_head(people: People, tmp_path: Path) -> None:
    from hub.review.change_requests import open_change_request

    repo = publish(people.bob, "sentiment", write_adapter(tmp_path / "adapter"))
    before = dict(repo.facts)
    request = open_change_request(actor=people.actor("charlie"), repo=repo, title="NaN")
    tensors = lora_tensors()
    next(iter(tensors.values()))[0, 0] = float("nan")
    made = push(people.charlie, repo, write_adapter(tmp_path / "bad", tensors=tensors), branch=request.ref)
    repo.refresh_from_db()
    assert repo.facts == before
    assert Check.objects.get(repo=repo, sha=made.sha, name="finite").verdict == "fail"
    assert verdicts(repo)["finite"] == "pass"


def test_comparing_two_revisions(people: People, tmp_path: Path) -> None:
    repo = publish(people.bob, "sentiment", write_adapter(tmp_path / "one"))
    first = trees.resolve_commit(repo)
    tensors = lora_tensors()
    name = next(iter(tensors))
    tensors[name] = tensors[name] * 2
    second = push(people.bob, repo, write_adapter(tmp_path / "two", tensors=tensors))
    put(people.bob, repo, {"notes.txt": b"hello\n"})
    last = trees.resolve_commit(repo)
    changes = compare_files(repo, first, repo, last)
    assert [(change.path, change.status) for change in changes if change.status != "unchanged"] == [
        ("adapter_model.safetensors", "changed"), ("notes.txt", "added"),
    ]  # fmt: skip
    assert next(change for change in changes if change.path == "notes.txt").text[-1] == "+hello"
    (pair,) = pairs(people.actor("bob"), repo, first, repo, last)
    found = compared(people.actor("bob"), pair)
    assert found.job is None
    assert found.comparison is not None  # made when the commit was inspected
    row = next(row for row in found.comparison.changes if row["name"] == QUERY)
    assert (row["status"], row["update"], round(row["relative_norm"], 5)) == ("changed", "scale", 1.0)
    assert Comparison.objects.count() == 1
    assert second.sha != first.sha
    assert Held.objects.filter(tensor__in=Held.objects.filter(name="base_model.model.classifier.bias").values("tensor"))
