"""Teaching on tiny models: what is learned is saved, reloads with peft, is deterministic, and refuses nonsense."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adapters.runtime.examples import Example
from adapters.runtime.linear import choose_strength, fit_linear
from adapters.runtime.runtime import Runtime
from merges.training.learners import bucketed, class_weights
from merges.training.settings import PRESETS, Settings, TrainingFault
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_encoder

FAST = Settings(rank=4, epochs=4, batch_size=8, learning_rate=1e-2, max_length=16)


@pytest.mark.parametrize("method", ["lora", "ia3", "rslora"])
def test_saved_adapter_reloads_with_peft_and_in_the_runtime(base: Path, tmp_path: Path, method: str) -> None:
    settings = replace(FAST, rslora=True) if method == "rslora" else replace(FAST, method=method)
    result = teach(base, opinions(48), settings, tmp_path / "a", base_name="alice/tiny")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(result.files)
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "alice/tiny"
    assert config["peft_type"] == ("IA3" if method == "ia3" else "LORA")
    assert json.loads((tmp_path / "a" / "labels.json").read_text()) == ["no", "yes"] == list(result.labels)
    runtime = Runtime(base)
    runtime.attach("a", tmp_path / "a")
    texts = ["the good dog runs", "an awful cat"]
    model = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(base, num_labels=2), tmp_path / "a"
    ).eval()
    with torch.no_grad():
        expected = model(**runtime.tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(runtime.logits(texts, "a"), expected, atol=1e-5)
    changed = [
        n for n, t in load_file(tmp_path / "a" / "adapter_model.safetensors").items() if "lora_B" in n or "ia3" in n
    ]
    assert changed
    assert result.trainable == sum(
        tensor.numel() for tensor in load_file(tmp_path / "a" / "adapter_model.safetensors").values()
    )


def test_it_learns_and_keeps_the_best_epoch(base: Path, tmp_path: Path) -> None:
    result = teach(base, opinions(64), replace(FAST, epochs=8, warm_head=False), tmp_path, validation=opinions(24, 64))
    assert result.best.validation_accuracy is not None
    assert result.best.validation_accuracy >= 0.9
    assert result.best.validation_loss == min(point.validation_loss for point in result.curve)
    assert result.curve[-1].loss < result.curve[0].loss
    runtime = Runtime(base)
    runtime.attach("a", tmp_path)
    rows = opinions(24, 64)
    given_labels = [result.labels[i] for i in runtime.logits([row.text for row in rows], "a").argmax(1)]
    share = np.mean([label == row.label for label, row in zip(given_labels, rows, strict=True)])
    assert share == pytest.approx(result.best.validation_accuracy)


def test_equal_seeds_give_equal_files_and_leave_the_callers_randomness_alone(base: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    settings = replace(FAST, epochs=2, dropout=0.2, base_dropout=True, warm_head=False)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        teach(base, opinions(24), replace(settings, seed=seed), tmp_path / name)
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]
    assert torch.equal(before, torch.get_rng_state())


def test_early_stop_and_progress(base: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    hard = [Example(row.text, random.Random(i).choice(["yes", "no"])) for i, row in enumerate(opinions(24, 100))]
    result = teach(
        base, opinions(32), replace(FAST, epochs=40, patience=2, warm_head=False), tmp_path,
        lambda done, total, _message: calls.append((done, total)), validation=hard,
    )  # fmt: skip
    assert result.stopped_early
    assert result.steps == len(result.curve) * 4 == calls[-1][0]
    assert len(result.curve) - result.best.epoch == 2
    assert calls[0] == (1, 160)


def test_a_raising_callback_cancels_and_writes_nothing(base: Path, tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def stop(done: int, _total: int, _message: str) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        teach(base, opinions(32), FAST, tmp_path / "a", stop)
    assert not (tmp_path / "a").exists()


def test_label_order_can_be_given_with_a_label_without_examples(base: Path, tmp_path: Path) -> None:
    result = teach(base, opinions(16), replace(FAST, epochs=1), tmp_path, labels=["yes", "maybe", "no"])
    assert result.labels == ("yes", "maybe", "no")
    runtime = Runtime(base)
    runtime.attach("a", tmp_path)
    assert runtime.outputs("a") == 3


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_causal_models_learn_to_continue_with_the_label(causal: Path, tmp_path: Path, method: str) -> None:
    settings = replace(FAST, method=method, epochs=25, learning_rate=5e-2, max_length=32, patience=0)
    result = teach(causal, opinions(48), settings, tmp_path, validation=opinions(16, 48))
    assert result.best.validation_accuracy is not None
    assert result.best.validation_accuracy >= 0.8
    runtime = Runtime(causal)
    runtime.attach("a", tmp_path)
    prompts = ["the good dog runs\nLabel:", "the awful movie sleeps\nLabel:"]
    scores = runtime.label_scores(prompts, ["no", "yes"], adapter="a", normalise="sum")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(causal), tmp_path).eval()
    ids = [
        *runtime.tokenizer(prompts[0])["input_ids"],
        *runtime.tokenizer(" yes", add_special_tokens=False)["input_ids"],
        3,
    ]
    with torch.no_grad():
        table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = table[len(ids) - 3, ids[-2]] + table[len(ids) - 2, ids[-1]]
    assert scores[0, 1] == pytest.approx(float(expected), abs=1e-4)


def test_weights_out_of_hand_stop_with_the_curve(base: Path, tmp_path: Path) -> None:
    wild = replace(FAST, learning_rate=1.0, clip=1e3, alpha=1e5, epochs=50, patience=0, rank=1)
    broken = write_encoder(tmp_path / "broken")
    from safetensors.torch import save_file

    tensors = load_file(broken / "model.safetensors")
    tensors["encoder.layer.1.output.dense.weight"][0, 0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingFault, match="before anything was trained") as caught:
        teach(broken, opinions(16), replace(wild, warm_head=False), tmp_path / "a")
    assert caught.value.curve == ()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("examples", "labels", "message"),
    [
        ([Example("a", "x"), Example("b", "x")], None, "at least two labels"),
        ([Example("a", "x")], None, "1 example"),
        ([], None, "0 example"),
        ([Example("a", "x"), Example("b", "y")], ["x", "z"], "'y' is not among"),
        ([Example("a", "x"), Example("b", "y")], ["x", "y", "x"], "named twice"),
    ],
)
def test_examples_nothing_can_be_learned_from(base: Path, tmp_path: Path, examples, labels, message: str) -> None:
    with pytest.raises(TrainingFault, match=message):
        teach(base, examples, FAST, tmp_path / "a", labels=labels)


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0}, {"learning_rate": float("nan")}, {"epochs": 0}, {"method": "magic"}, {"template": "no place"},
        {"target_modules": ("nowhere",)},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_trained(base: Path, tmp_path: Path, changes: dict) -> None:
    with pytest.raises(TrainingFault):
        teach(base, opinions(8), replace(FAST, **changes), tmp_path / "a")


def test_long_and_empty_texts_and_pairs_are_trained_on(base: Path, tmp_path: Path) -> None:
    rows = [
        Example("good " * 20_000, "yes", "dog"),
        Example("", "no"),
        Example("bad", "no", ""),
        Example("nice", "yes"),
    ]
    assert teach(base, rows, replace(FAST, epochs=1, max_length=512), tmp_path).n == 4


def test_presets_are_sound() -> None:
    for settings_ in PRESETS.values():
        settings_.check()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_batches_hold_every_row_once_with_little_padding(lengths: list[int], size: int, seed: int) -> None:
    batches = list(bucketed(lengths, size, random.Random(seed)))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in batches)


def test_balanced_weights_even_out_classes() -> None:
    weights = class_weights([0, 0, 0, 1], 3, "balanced")
    assert weights.tolist() == pytest.approx([4 / 6, 2.0, 0.0])
    assert class_weights([0, 0, 0, 1], 2, "none").tolist() == [1.0, 1.0]


@pytest.mark.parametrize("classes", [2, 4])
def test_linear_fit_is_scikit_learns(classes: int) -> None:
    chance = np.random.default_rng(classes)
    x, y = chance.normal(size=(80, 6)), chance.integers(0, classes, 80)
    weights = chance.uniform(0.5, 2, 80)
    for strength in (0.1, 3.0):
        matrix, bias = fit_linear(x, y.tolist(), classes, strength=strength, weights=weights)
        # For two classes scikit-learn has one row of weights, which bears twice the punishment of our two.
        model = LogisticRegression(C=strength * (2 if classes == 2 else 1), tol=1e-10, max_iter=5000)
        model.fit(x, y, sample_weight=weights)
        logits = x @ matrix.T + bias
        ours = np.exp(logits - logits.max(1, keepdims=True))
        np.testing.assert_allclose(ours / ours.sum(1, keepdims=True), model.predict_proba(x), atol=1e-4)
    assert choose_strength((x, y), (x, y), classes) in (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
