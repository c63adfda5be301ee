"""The demo's content: real texts, equal every time, balanced, without overlap; base and specialist folders."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from adapters.runtime.examples import Example
from merges.demo import sources, texts
from merges.demo.bases import MINILM, write_base
from merges.demo.specialists import SPECIALISTS, Revision, train_specialist
from merges.evaluation.harness import EvaluationSettings, LocalTask, evaluate
from tests.pure.tiny_models import write_encoder

MADE: dict[str, texts.DemoSplits] = {}


def made(name: str) -> texts.DemoSplits:
    if name not in MADE:
        MADE[name] = texts.splits(texts.task_named(name))
    return MADE[name]


@pytest.mark.parametrize("name", [task.name for task in texts.TASKS])
def test_splits_are_balanced_disjoint_and_large_enough(name: str) -> None:
    splits = made(name)
    parts = (splits.train, splits.validation, splits.test)
    for part in parts:
        counts = Counter(row.label for row in part)
        assert set(counts) == set(splits.labels)
        assert len(set(counts.values())) == 1
    assert [len(part) <= size for part, size in zip(parts, texts.SHARES, strict=True)] == [True] * 3
    assert len(splits.train) >= 240
    assert len(splits.test) >= 120
    keys = [texts.normalised(row.text) for part in parts for row in part]
    assert len(keys) == len(set(keys))
    assert all("<" not in row.text and "  " not in row.text.strip() for row in splits.test if name == "cloud-action")


def test_no_task_is_taught_with_the_test_texts_of_another() -> None:
    taught = {texts.normalised(row.text) for task in texts.TASKS for row in made(task.name).train}
    tested = {texts.normalised(row.text) for task in texts.TASKS for row in made(task.name).test}
    assert not taught & tested


def test_splits_are_equal_every_time() -> None:
    name = "cloud-service"
    assert texts.splits(texts.task_named(name)) == made(name)


def test_a_text_under_two_labels_is_dropped_and_scarce_labels_shrink_all() -> None:
    rows = [(f"text number {'x' * i}", "a") for i in range(40)] + [(f"other line {'y' * i}", "b") for i in range(20)]
    rows += [("The Same words 1!", "a"), ("the same words 2", "b")]
    task = replace(texts.TASKS[0], read=lambda: rows, shortest=5)
    splits = texts.splits(task, (40, 10, 10))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [26, 6, 6]
    assert not any("same words" in row.text.lower() for row in splits.train + splits.validation + splits.test)


def test_first_sentences_are_clean() -> None:
    text = "<p>Deletes the <code>Bucket</code> &amp; its\n policy. See <a href='x'>this</a>.</p>"
    assert sources.first_sentence(text) == "Deletes the Bucket & its policy."
    assert sources.first_sentence("Uses version 1.2 of it. More") == "Uses version 1.2 of it."
    assert sources.first_sentence("") == ""


def test_missing_package_says_what_to_do() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"requirements\.txt"):
        sources.package_folder("no_such_package_here")


def front_matter(card: str) -> dict:
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL).group(1))


def test_task_folder_holds_splits_and_card(tmp_path: Path) -> None:
    task = texts.task_named("cloud-action")
    splits = texts.write_task(task, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    rows = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [Example(**row) for row in rows] == list(splits.test)
    card = front_matter((tmp_path / "README.md").read_text())
    assert card["type"] == "text-classification"
    assert card["labels"] == ["change", "create", "delete", "read"]
    assert (card["metric"], card["license"], card["language"]) == ("accuracy", "apache-2.0", ["en"])


def test_language_codes_stay_text_in_yaml() -> None:
    card = front_matter(texts.task_card(texts.task_named("message-language"), made("message-language")))
    assert all(isinstance(code, str) for code in card["language"] + card["labels"])


@pytest.mark.slow
def test_a_specialist_of_the_real_base_beats_chance_after_one_pass(tmp_path: Path) -> None:
    base = write_base(MINILM, tmp_path / "base")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {p.name for p in base.iterdir()}
    assert front_matter((base / "README.md").read_text())["license"] == "apache-2.0"
    splits = made("cloud-action")
    specialist = next(one for one in SPECIALISTS if one.task == "cloud-action")
    quick = Revision(replace(specialist.revisions[0].settings, epochs=1, max_length=24), "Try")
    few = replace(splits, train=splits.train[:96], validation=splits.validation[:32])
    result = train_specialist(
        specialist, quick, base, few, tmp_path / "a", base_name="alice/minilm", task_name="alice/cloud-action"
    )
    card = front_matter((tmp_path / "a" / "README.md").read_text())
    assert (card["base_model"], card["datasets"]) == ("alice/minilm", ["alice/cloud-action"])
    task = LocalTask(splits.labels, splits.test[:64], name="alice/cloud-action")
    scored = evaluate(base, tmp_path / "a", task, EvaluationSettings(max_length=24))
    assert scored.scores["accuracy"] > 0.6
    assert result.curve[0].validation_accuracy is not None


def test_every_specialist_has_a_task_and_sound_settings(tmp_path: Path) -> None:
    base = write_encoder(tmp_path / "base")
    assert {one.task for one in SPECIALISTS} == {task.name for task in texts.TASKS}
    assert {revision.settings.method for one in SPECIALISTS for revision in one.revisions} == {"lora", "ia3"}
    assert max(len(one.revisions) for one in SPECIALISTS) == 2
    for one in SPECIALISTS:
        for revision in one.revisions:
            revision.settings.check()
    rows = (Example("good dog", "a"), Example("bad cat", "b"))
    result = train_specialist(
        SPECIALISTS[-1], SPECIALISTS[-1].revisions[0], base, texts.DemoSplits(("a", "b"), rows, rows, rows),
        tmp_path / "a", base_name="alice/tiny", task_name="alice/t",
    )  # fmt: skip
    assert np.isfinite(result.best.loss)
