"""Encoder-decoder bases against transformers and peft: label likelihoods, written answers, adapters, what they fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig, BartForConditionalGeneration

from adapters.formats.inspect import inspect_adapter
from adapters.formats.safetensors_header import read_header
from adapters.runtime.bases import family_of
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.generating import generate
from adapters.runtime.runtime import Runtime
from adapters.runtime.writing import retention, write_on
from merges.evaluation.harness import EvaluationFault, EvaluationSettings, LocalTask, Panel
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import WORDS, opinions, write_seq2seq, write_tokenizer

TASK = LocalTask(("yes", "no", "warm cold good"), opinions(24, 100), opinions(40), (), "alice/opinions")
PROMPTS = [row.text for row in TASK.test[:7]] + ["a dog"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seq2seq(tmp_path_factory.mktemp("t5"))


def write_adapter(base: Path, folder: Path, **more: object) -> Path:
    torch.manual_seed(5)
    config = LoraConfig(r=4, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM", **more)  # type: ignore[arg-type]
    model = get_peft_model(AutoModelForSeq2SeqLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


def alone(model: torch.nn.Module, tokenizer: object, prompt: str, label: str) -> float:
    """log p of a label, as transformers itself computes its loss."""
    read, target = (tokenizer(text, return_tensors="pt") for text in (prompt, label))  # type: ignore[operator]
    with torch.no_grad():
        loss = model(**{k: read[k] for k in ("input_ids", "attention_mask")}, labels=target["input_ids"]).loss
    return -float(loss) * target["input_ids"].shape[1]


def test_likelihoods_are_those_of_transformers_and_peft(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter")
    runtime, tokenizer = Runtime(base, max_length=48), AutoTokenizer.from_pretrained(base)
    assert (runtime.family, runtime.task) == ("seq2seq", "generate")
    runtime.attach("one", adapter)
    plain = AutoModelForSeq2SeqLM.from_pretrained(base).eval()
    adapted = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base), adapter).eval()
    found = {}
    for name, model in ((None, plain), ("one", adapted)):
        sums, counts = runtime.label_likelihoods(PROMPTS, TASK.labels, adapter=name, batch_size=3)
        wanted = [[alone(model, tokenizer, prompt, label) for label in TASK.labels] for prompt in PROMPTS]
        np.testing.assert_allclose(sums, wanted, rtol=2e-4, atol=2e-4)
        found[name] = sums
    assert counts[0].tolist() == [len(tokenizer(label)["input_ids"]) for label in TASK.labels]
    assert np.abs(found[None] - found["one"]).max() > 0.01
    again, _ = runtime.label_likelihoods(PROMPTS, TASK.labels, batch_size=8)
    np.testing.assert_allclose(again, found[None], atol=1e-4)


def test_writing_is_what_transformers_writes(base: Path) -> None:
    runtime = Runtime(base, max_length=48)
    model = AutoModelForSeq2SeqLM.from_pretrained(base).eval()
    written = write_on(runtime, PROMPTS, most_tokens=6, batch_size=3)
    for prompt, text in zip(PROMPTS, written, strict=True):
        read = runtime.tokenizer(prompt, return_tensors="pt")
        made = model.generate(
            input_ids=read["input_ids"], attention_mask=read["attention_mask"], max_new_tokens=6, do_sample=False
        )
        assert text == runtime.tokenizer.decode(made[0], skip_special_tokens=True).strip()
    assert len(set(written)) > 1 and all(written[:3])
    said = list(generate(runtime, [{"role": "user", "content": PROMPTS[0]}], most=6))
    assert said[0][0].strip() == written[0] and said[-1] == ("", "stop")


def test_bart_begins_as_it_was_taught_to(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = BartConfig(
        vocab_size=len(WORDS) + 4, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, pad_token_id=0,
        bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_bos_token_id=2, init_std=0.4,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    assert family_of(tmp_path) == "seq2seq", "though its type could also fill masks"
    runtime, model = Runtime(tmp_path, max_length=48), BartForConditionalGeneration.from_pretrained(tmp_path).eval()
    read = runtime.tokenizer(PROMPTS[0], return_tensors="pt")
    made = model.generate(
        input_ids=read["input_ids"], attention_mask=read["attention_mask"], max_new_tokens=6, do_sample=False,
        num_beams=1, forced_eos_token_id=None,
    )  # fmt: skip
    wanted = runtime.tokenizer.decode(made[0], skip_special_tokens=True).strip()
    assert write_on(runtime, PROMPTS[:2], most_tokens=6)[0] == wanted
    sums, _ = runtime.label_likelihoods(PROMPTS[:2], TASK.labels)
    assert sums[0, 1] == pytest.approx(alone(model, runtime.tokenizer, PROMPTS[0], "no"), rel=2e-4)


def test_judged_like_every_other_base(base: Path, tmp_path: Path) -> None:
    panel = Panel(base, max_length=48)
    quick = EvaluationSettings(batch_size=7, max_length=48, draws=50)
    result = panel.judge(TASK, settings=quick)
    assert result.protocol == "label-likelihood" and "accuracy_by_token" in result.scores
    adapted = panel.judge(TASK, write_adapter(base, tmp_path / "adapter"), None, quick)
    assert [item.score for item in adapted.items] != [item.score for item in result.items]
    written = panel.judge(TASK, settings=replace(quick, generate=True, shots=2))
    assert written.protocol == "generation" and {"exact_match", "chrf", "rouge_l"} <= set(written.scores)
    assert panel.runtime.features(PROMPTS).shape == (len(PROMPTS), 32)


def test_what_cannot_be_done_is_said(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter")
    runtime = Runtime(base, max_length=48)
    runtime.attach("one", adapter)
    with pytest.raises(RuntimeFault, match="encoder and a decoder"):
        retention(runtime, PROMPTS, "one")
    with pytest.raises((RuntimeFault, EvaluationFault), match="not taught yet"):
        teach(base, opinions(8), Settings(epochs=1), tmp_path / "taught")
    model = get_peft_model(
        AutoModelForSeq2SeqLM.from_pretrained(base),
        PromptTuningConfig(num_virtual_tokens=3, task_type="SEQ_2_SEQ_LM"),
    )
    model.save_pretrained(tmp_path / "prompt")
    with pytest.raises(RuntimeFault, match="Use LoRA or IA3"):
        runtime.attach("two", tmp_path / "prompt")


def test_whether_it_fits_its_base(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter")
    other = write_seq2seq(tmp_path / "wide", width=48)
    config, weights = (adapter / "adapter_config.json").read_bytes(), adapter / "adapter_model.safetensors"
    verdicts = []
    for folder in (base, other):
        found = inspect_adapter(config, weights, read_header(folder / "model.safetensors"))
        assert found.facts["task_type"] == "SEQ_2_SEQ_LM"
        verdicts.append({finding.name: finding.verdict for finding in found.findings}["fits_base"])
    assert verdicts == ["pass", "fail"]
