"""Language models: likelihoods three ways, shots, written answers, retention; items and outside results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from adapters.runtime.runtime import Runtime
from adapters.runtime.writing import retention, write_on
from merges.evaluation import generation, items, lm_eval
from merges.evaluation.harness import EvaluationFault, EvaluationSettings, LocalTask, Panel
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_causal, write_encoder

TASK = LocalTask(("yes", "no"), opinions(24, 100), opinions(40), opinions(12, 50), "alice/opinions")
QUICK = EvaluationSettings(batch_size=7, max_length=48, draws=50)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal(tmp_path_factory.mktemp("causal"))


def test_writing_is_what_transformers_writes(base: Path) -> None:
    runtime = Runtime(base, max_length=48)
    prompts = [row.text for row in TASK.test[:5]] + ["a dog"]
    written = write_on(runtime, prompts, most_tokens=6, batch_size=3)
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    for prompt, text in zip(prompts, written, strict=True):
        ids = runtime.tokenizer(prompt, return_tensors="pt")["input_ids"]
        made = model.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=3, pad_token_id=0)[0, ids.shape[1] :]
        assert text == runtime.tokenizer.decode(made, skip_special_tokens=True).strip()


def test_likelihoods_are_weighed_three_ways(base: Path) -> None:
    task = replace(TASK, labels=("yes", "no", "warm cold good"))
    runtime = Runtime(base, max_length=48)
    sums, counts = runtime.label_likelihoods([f"{row.text}\nLabel:" for row in task.test], task.labels)
    assert counts[0].tolist() == [2, 2, 4], "each with its end token"
    panel = Panel(base, max_length=48)
    for weigh, values in (("sum", sums), ("token", sums / counts), ("character", sums / [3, 2, 14])):
        result = panel.judge(task, settings=replace(QUICK, weigh=weigh))
        assert [item.predicted for item in result.items] == [task.labels[i] for i in values.argmax(1)]
        assert result.scores[f"accuracy_by_{weigh}"] == result.scores["accuracy"]


def test_shots_come_from_train_and_from_the_seed(base: Path) -> None:
    panel = Panel(base, max_length=48)
    results = [
        panel.judge(TASK, settings=replace(QUICK, shots=shots, seed=seed))
        for shots, seed in ((0, 0), (2, 0), (2, 0), (2, 1))
    ]
    scores = [[item.score for item in result.items] for result in results]
    assert scores[1] == scores[2] != scores[0]
    assert scores[3] != scores[1]
    with pytest.raises(EvaluationFault, match="41 shots need as many train rows"):
        panel.judge(TASK, settings=replace(QUICK, shots=41))


def test_written_answers_are_judged(base: Path, tmp_path: Path) -> None:
    teach(base, TASK.train, Settings(epochs=12, batch_size=8, learning_rate=2e-2, max_length=32), tmp_path)
    result = Panel(base, max_length=48).judge(TASK, tmp_path, settings=replace(QUICK, generate=True, retention=10))
    assert result.protocol == "generation"
    assert result.scores["accuracy"] == result.scores["exact_match"] > 0.7
    assert 0 <= result.scores["chrf"] <= 1 and 0 <= result.scores["rouge_l"] <= 1
    assert result.scores["kl"] > 0 and result.scores["perplexity"] != result.scores["perplexity_base"]


def test_generation_metrics_by_hand() -> None:
    judged = generation.judge(["The cat sat", "yes", "no"], ["the cat sat ", "yes it is", ""])
    assert judged["exact_match"] == [1.0, 0.0, 0.0]
    assert judged["rouge_l"] == pytest.approx([1.0, 2 * (1 / 3) / (1 + 1 / 3), 0.0])
    assert judged["empty"] == [0.0, 0.0, 1.0]
    assert generation.mean_and_error([1.0, 0.0, 1.0, 0.0]) == (0.5, pytest.approx(np.std([1, 0, 1, 0], ddof=1) / 2))


def test_retention_is_zero_for_an_adapter_that_changes_nothing(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    teach(base, TASK.train, Settings(epochs=1, batch_size=8, max_length=32), tmp_path)
    runtime = Runtime(base, max_length=48)
    runtime.attach("taught", tmp_path)
    texts = [row.text for row in TASK.test]
    found = retention(runtime, texts, "taught", batch_size=5)
    model, losses, count = AutoModelForCausalLM.from_pretrained(base).eval(), 0.0, 0
    for text in texts:
        ids = runtime.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            losses += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    assert found["perplexity_base"] == pytest.approx(np.exp(losses / count), rel=1e-4)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    save_file(
        {name: torch.zeros_like(tensor) if "lora_B" in name else tensor for name, tensor in weights.items()},
        tmp_path / "adapter_model.safetensors",
    )
    runtime.attach("still", tmp_path)
    assert retention(runtime, texts, "still")["kl"] == pytest.approx(0, abs=1e-6)


def test_encoders_take_no_prompts(tmp_path: Path) -> None:
    with pytest.raises(EvaluationFault, match="takes no prompts"):
        Panel(write_encoder(tmp_path), max_length=32).judge(TASK, settings=replace(QUICK, generate=True))


@pytest.mark.parametrize("bad", [{"template": "no place"}, {"shots": -1}, {"weigh": "luck"}, {"batch_size": 0}])
def test_settings_out_of_range(bad: dict[str, Any]) -> None:
    with pytest.raises(EvaluationFault):
        EvaluationSettings(**bad).check()


def test_one_base_and_one_tokenisation_for_many_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_encoder(tmp_path / "base")
    folders = []
    for seed in range(3):
        folders.append(tmp_path / f"a{seed}")
        teach(base, TASK.train, Settings(epochs=2, batch_size=8, max_length=32, seed=seed), folders[-1])
    alone = [Panel(base, max_length=32).judge(TASK, folder, settings=QUICK) for folder in folders]
    panel, calls = Panel(base, max_length=32), []
    prepare = panel.runtime.prepare
    monkeypatch.setattr(panel.runtime, "prepare", lambda *a, **k: calls.append(1) or prepare(*a, **k))
    together = [panel.judge(TASK, folder, settings=QUICK) for folder in folders]
    assert len(calls) == 1
    assert [r.items for r in together] == [r.items for r in alone]
    assert panel.runtime.adapters == ("subject",)


def test_items_survive_parquet_and_are_chosen() -> None:
    rows = [
        {
            "row": i,
            "text": f"t{i}",
            "text_pair": None,
            "expected": "a",
            "predicted": "ab"[i % 2],
            "right": i % 2 == 0,
            "score": i / 10,
        }
        for i in range(6)
    ]
    data = items.to_parquet(rows)
    assert items.read(data) == rows
    assert data == items.to_parquet(rows)
    assert [row["row"] for row in items.select(rows)] == [5, 3, 1]
    assert [row["row"] for row in items.select(rows, show="wrong")] == [1, 3, 5]
    assert [row["row"] for row in items.select(rows, show="all", predicted="b")] == [1, 3, 5]


def test_lm_eval_results_there_and_back() -> None:
    ours = lm_eval.OurScore(
        "acme--moods", "abc", {"accuracy": 0.75, "accuracy_by_character": 0.7, "secret": 1.0}, 0.02, 400, 5
    )
    written = lm_eval.write_results(
        [ours], model="acme/tiny", parameters=12, device="cpu", seed=7, seconds=1.5, versions={"transformers": "5"}
    )
    assert written["results"]["acme--moods"]["acc,none"] == 0.75
    assert json.loads(json.dumps(written)) == written
    (read,) = lm_eval.read_results(written)
    assert read == lm_eval.OutsideScore(
        "acme--moods", {"accuracy": 0.75, "accuracy_by_character": 0.7}, 0.02, 400, 5, {"transformers": "5"}, 7
    )


@pytest.mark.parametrize(("data", "sentence"), [
    (None, "has an object"), ({"results": []}, "has an object"), ({"results": {"a": {"acc,none": "1"}}}, "None of its tasks"),
    ({"results": {"a": {"acc,none": float("nan")}}}, "None of its tasks"),
    ({"results": {"a": {"acc,none": 1}}}, "n-samples"), ({"results": {"a": {"acc": 1}}, "n-samples": {"a": {"effective": True}}}, "n-samples"),
])  # fmt: skip
def test_results_that_are_none(data: Any, sentence: str) -> None:
    with pytest.raises(lm_eval.BadResults, match=sentence):
        lm_eval.read_results(data)
