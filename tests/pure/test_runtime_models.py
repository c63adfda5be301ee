"""One base, many adapters: the numbers must be peft's own, whatever else is attached."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from adapters.runtime.bases import family_of, load_model
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.examples import examples_of
from adapters.runtime.runtime import Runtime

TEXTS = ["the good dog runs", "a bad cat", "", "the movie sleeps fast and slow and good and bad", "bird"]


def write_adapter(base: Path, folder: Path, config, labels: int) -> tuple[Path, np.ndarray]:
    """An adapter with random weights as peft saves it, and peft's own logits of TEXTS."""
    torch.manual_seed(labels)
    model = get_peft_model(AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "ia3_" in name:
            torch.nn.init.normal_(parameter, 1.0 if "ia3_" in name else 0.0, 0.5)
    model.save_pretrained(folder)
    return folder, reference(model.eval(), base)


def reference(model, base: Path) -> np.ndarray:
    tokenizer = Runtime(base).tokenizer
    with torch.no_grad():
        return np.concatenate([model(**tokenizer([text], return_tensors="pt")).logits.numpy() for text in TEXTS])


LORA = {
    "plain": {"r": 4, "target_modules": ["query", "value"]},
    "rslora": {"r": 4, "target_modules": ["query"], "use_rslora": True, "lora_alpha": 3},
    "dora": {"r": 2, "target_modules": ["query"], "use_dora": True},
    "patterns": {
        "r": 4, "target_modules": ["query", "value"], "rank_pattern": {"layer.1.attention.self.query": 2},
        "alpha_pattern": {"layer.0.attention.self.value": 32},
    },
    "expression": {"r": 4, "target_modules": r".*layer\.1.*\.(query|key)"},
    "embedding": {"r": 2, "target_modules": ["word_embeddings", "query"]},
    "bias": {"r": 2, "target_modules": ["query"], "bias": "lora_only"},
}  # fmt: skip


@pytest.mark.parametrize("kind", LORA)
def test_lora_gives_pefts_logits(base: Path, tmp_path: Path, kind: str) -> None:
    folder, expected = write_adapter(base, tmp_path, LoraConfig(task_type="SEQ_CLS", **LORA[kind]), 3)
    runtime = Runtime(base)
    runtime.attach("a", folder)
    np.testing.assert_allclose(runtime.logits(TEXTS, "a", batch_size=2), expected, atol=1e-5)
    assert runtime.outputs("a") == 3


def test_adapters_of_different_kinds_and_label_counts_do_not_disturb_each_other(base: Path, tmp_path: Path) -> None:
    runtime = Runtime(base)
    plain = runtime.features(TEXTS)
    configs = {
        "two": (LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]), 2),
        "five": (LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["value", "key"]), 5),
        "alice/ia3.x": (IA3Config(task_type="SEQ_CLS"), 4),
    }
    expected = {}
    for number, (name, (config, labels)) in enumerate(configs.items()):
        folder, expected[name] = write_adapter(base, tmp_path / str(number), config, labels)
        runtime.attach(name, folder)
    for name in ("five", "alice/ia3.x", "two", "five"):
        np.testing.assert_allclose(runtime.logits(TEXTS, name), expected[name], atol=1e-5)
    runtime.detach("five")
    runtime.detach("alice/ia3.x")
    assert runtime.adapters == ("two",)
    np.testing.assert_allclose(runtime.logits(TEXTS, "two"), expected["two"], atol=1e-5)
    np.testing.assert_array_equal(runtime.features(TEXTS), plain)
    assert np.abs(runtime.features(TEXTS, adapter="two") - plain).max() > 1e-3


def test_features_are_means_over_attended_tokens(base: Path) -> None:
    runtime = Runtime(base)
    model, expected = AutoModel.from_pretrained(base), []
    with torch.no_grad():
        for text in TEXTS:
            expected.append(
                model(**runtime.tokenizer([text], return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
            )
    calls: list[tuple[int, int]] = []
    found = runtime.features(TEXTS, batch_size=2, progress=lambda done, total, _m: calls.append((done, total)))
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
    assert calls == [(2, 5), (4, 5), (5, 5)]
    np.testing.assert_allclose(np.linalg.norm(runtime.features(TEXTS, normalise=True), axis=1), 1, atol=1e-5)


def test_second_texts_are_read(base: Path) -> None:
    runtime = Runtime(base)
    assert np.abs(runtime.features(["dog"], ["cat"]) - runtime.features(["dog"], ["bird"])).max() > 1e-3


def test_head_file_of_a_merge_replaces_the_head(base: Path, tmp_path: Path) -> None:
    folder, _ = write_adapter(base, tmp_path / "a", LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]), 3)
    (tmp_path / "heads").mkdir()
    head = tmp_path / "heads" / "bob--x.safetensors"
    weight, bias = torch.randn(4, 32), torch.randn(4)
    save_file({"base_model.model.classifier.weight": weight, "classifier.bias": bias}, head)
    head.with_suffix(".labels.json").write_text(json.dumps(list("abcd")))
    runtime = Runtime(base)
    runtime.attach("own", folder)
    runtime.attach("merge", folder, head)
    assert runtime.labels("merge") == ("a", "b", "c", "d")
    assert runtime.labels("own") is None
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=4)
    peft_model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    tensors = {**load_file(folder / "adapter_model.safetensors")}
    tensors |= {"base_model.model.classifier.weight": weight, "base_model.model.classifier.bias": bias}
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(peft_model, tensors)
    np.testing.assert_allclose(runtime.logits(TEXTS, "merge"), reference(peft_model.eval(), base), atol=1e-5)


def test_label_scores_are_sums_of_log_probabilities(causal: Path) -> None:
    runtime = Runtime(causal)
    assert runtime.task == "generate"
    prompts, labels = ["the good dog", "a bad cat sleeps slow", "bird"], ["yes", "no no", "warm cold red"]
    model = AutoModelForCausalLM.from_pretrained(causal)
    expected, lengths = np.zeros((3, 3)), np.zeros((3, 3))
    for i, prompt in enumerate(prompts):
        for j, label in enumerate(labels):
            head = runtime.tokenizer(prompt)["input_ids"]
            tail = [*runtime.tokenizer(" " + label, add_special_tokens=False)["input_ids"], 3]
            with torch.no_grad():
                table = model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
            expected[i, j] = sum(table[len(head) + k - 1, token].item() for k, token in enumerate(tail))
            lengths[i, j] = len(tail)
    np.testing.assert_allclose(
        runtime.label_scores(prompts, labels, normalise="sum", batch_size=4), expected, atol=1e-4
    )
    np.testing.assert_allclose(runtime.label_scores(prompts, labels, batch_size=3), expected / lengths, atol=1e-4)
    with pytest.raises(RuntimeFault, match="label scores"):
        runtime.logits(prompts, "x")


def test_encoder_weights_are_all_loaded(base: Path) -> None:
    loaded = load_model(base, labels=2, pad=0).state_dict()
    for name, tensor in load_file(base / "model.safetensors").items():
        assert torch.equal(loaded["bert." + name], tensor), name
    assert family_of(base) == "encoder"


def edit(folder: Path, **changes) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_hostile_patterns_are_never_run(base: Path, tmp_path: Path) -> None:
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    folder, expected = write_adapter(base, tmp_path, config, 2)
    hostile = "(([a-z._0-9])+)+!$"
    edit(folder, target_modules=hostile, exclude_modules=hostile, rank_pattern={hostile: 4}, auto_mapping={"x": "y"})
    runtime = Runtime(base)
    runtime.attach("a", folder)
    np.testing.assert_allclose(runtime.logits(TEXTS, "a"), expected, atol=1e-5)
    with pytest.raises(RuntimeFault, match="alpha_pattern"):
        runtime.attach("b", edit(folder, alpha_pattern={hostile: 4}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "Use LoRA, IA3 or prompt tuning"),
        ({"lora_alpha": "many"}, "lora_alpha"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"init_lora_weights": "pissa"}, "plain LoRA"),
    ],
)
def test_what_cannot_be_run_is_said(base: Path, tmp_path: Path, changes: dict, message: str) -> None:
    folder, _ = write_adapter(base, tmp_path, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]), 2)
    with pytest.raises(RuntimeFault, match=re.escape(message)):
        Runtime(base).attach("a", edit(folder, **changes))


def test_adapter_of_another_base_is_refused_and_leaves_no_trace(base: Path, causal: Path, tmp_path: Path) -> None:
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    good, expected = write_adapter(base, tmp_path / "good", config, 2)
    wrong, _ = write_adapter(base, tmp_path / "wrong", config, 2)
    tensors = load_file(wrong / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_A" in name)
    save_file({**tensors, name: torch.zeros(2, 99)}, wrong / "adapter_model.safetensors")
    runtime = Runtime(base)
    runtime.attach("good", good)
    with pytest.raises(RuntimeFault, match="does not fit"):
        runtime.attach("wrong", wrong)
    wide = {**tensors, "base_model.model.classifier.weight": torch.zeros(2, 99)}
    save_file(wide, wrong / "adapter_model.safetensors")
    with pytest.raises(RuntimeFault, match="shape"):
        runtime.attach("wrong", wrong)
    with pytest.raises(RuntimeFault):
        Runtime(causal).attach("good", good)
    assert runtime.adapters == ("good",)
    np.testing.assert_allclose(runtime.logits(TEXTS, "good"), expected, atol=1e-5)


def test_broken_files_are_named(base: Path, tmp_path: Path) -> None:
    folder, _ = write_adapter(base, tmp_path, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]), 2)
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-7])
    with pytest.raises(RuntimeFault, match=r"adapter_model\.safetensors"):
        Runtime(base).attach("a", folder)
    weights.write_bytes(whole)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(RuntimeFault, match="not valid JSON"):
        Runtime(base).attach("a", folder)


def test_bases_without_tokenizer_or_weights_or_known_type(base: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((base / "config.json").read_bytes())
    with pytest.raises(RuntimeFault, match="no tokenizer"):
        Runtime(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    with pytest.raises(RuntimeFault, match="safetensors"):
        Runtime(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mystery", "auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(RuntimeFault, match="mystery"):
        Runtime(tmp_path)


def test_rows_become_examples_or_name_the_row() -> None:
    assert examples_of([{"text": "a", "label": 1}])[0].label == "1"
    with pytest.raises(RuntimeFault, match="Row 2"):
        examples_of([{"text": "a", "label": "x"}, {"text": "b"}])
