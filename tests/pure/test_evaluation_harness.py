"""Protocols of the harness on tiny models, against scores computed by hand from the runtime's outputs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from merges.evaluation.harness import EvaluationFault, EvaluationSettings, LocalTask, evaluate
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_causal, write_encoder

TASK = LocalTask(("yes", "no"), opinions(30, 100), opinions(40), opinions(12, 50), "alice/opinions")
QUICK = EvaluationSettings(batch_size=7, max_length=32, draws=50, seed=5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    teach(base, TASK.train, Settings(epochs=6, batch_size=8, learning_rate=1e-2, max_length=32), folder)
    return folder


def test_head_scores_follow_the_labels_file_not_the_tasks_order(base: Path, adapter: Path) -> None:
    calls: list[tuple[int, int]] = []
    result = evaluate(base, adapter, TASK, QUICK, lambda done, total, _m: calls.append((done, total)))
    runtime = Runtime(base)
    runtime.attach("a", adapter)
    labels = runtime.labels("a")
    assert labels == ("no", "yes")
    chosen = [labels[i] for i in runtime.logits([row.text for row in TASK.test], "a").argmax(1)]
    assert [item.predicted for item in result.items] == chosen
    share = np.mean([label == row.label for label, row in zip(chosen, TASK.test, strict=True)])
    assert result.scores["accuracy"] == pytest.approx(share)
    assert share > 0.8
    assert result.n == 30 == sum(map(sum, result.confusion)) == calls[-1][0]
    assert result.standard_error == pytest.approx((share * (1 - share) / 30) ** 0.5)
    low, high = result.intervals["accuracy"]
    assert low <= share <= high
    assert (result.protocol, result.seed, result.device) == ("head", 5, "cpu")
    assert {"torch", "peft", "transformers"} <= set(result.versions)
    assert json.loads(json.dumps(result.to_dict()))["items"][0]["row"] == 0


def test_base_is_judged_by_a_linear_probe(base: Path) -> None:
    result = evaluate(base, None, TASK, QUICK)
    assert result.protocol == "linear-probe"
    assert result.scores["accuracy"] >= 0.9
    again = evaluate(base, None, replace(TASK, validation=()), QUICK)
    assert again.protocol == "linear-probe"
    with pytest.raises(EvaluationFault, match="no train split for it"):
        evaluate(base, None, replace(TASK, train=()), QUICK)


def test_causal_model_is_judged_by_label_likelihood(tmp_path: Path) -> None:
    base = write_causal(tmp_path)
    result = evaluate(base, None, TASK, QUICK)
    runtime = Runtime(base)
    scores = runtime.label_scores([f"{row.text}\nLabel:" for row in TASK.test], TASK.labels)
    assert result.protocol == "label-likelihood"
    assert [item.predicted for item in result.items] == [TASK.labels[i] for i in scores.argmax(1)]
    assert [item.score for item in result.items] == pytest.approx(scores.max(1).tolist(), abs=1e-4)


def test_task_without_test_split(base: Path, adapter: Path) -> None:
    with pytest.raises(EvaluationFault, match=r"alice/opinions has no test split.*test\.jsonl"):
        evaluate(base, adapter, replace(TASK, test=()), QUICK)


def test_head_with_other_labels_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    three = replace(TASK, labels=("yes", "no", "maybe"))
    with pytest.raises(EvaluationFault, match="2 outputs, but the task alice/opinions has 3 labels"):
        evaluate(base, adapter, three, QUICK)
    other = LocalTask(("warm", "cold"), [Example("a dog", "warm")], name="bob/weather")
    with pytest.raises(EvaluationFault, match="'no' is not one of them"):
        evaluate(base, adapter, other, QUICK)


def test_a_label_the_card_does_not_name(base: Path) -> None:
    with pytest.raises(EvaluationFault, match="Row 2 of test carries the label 'perhaps'"):
        evaluate(base, None, replace(TASK, test=[*opinions(1), Example("a", "perhaps")]), QUICK)


def test_nan_weights_are_said_not_scored(base: Path, adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name in ("adapter_config.json", "labels.json"):
        (tmp_path / name).write_bytes((adapter / name).read_bytes())
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(EvaluationFault, match="NaN"):
        evaluate(base, tmp_path, TASK, QUICK)
