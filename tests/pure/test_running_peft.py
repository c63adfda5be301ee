"""Merged adapters through peft itself: every kind reloads and computes what the sum of the updates computes."""

import shutil
from pathlib import Path

import peft
import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from merges.recipes import parse
from merges.running import LocalAdapter, run

LINEAR = ["query", "value", "intermediate.dense", "attention.output.dense"]
KINDS = {
    "plain": LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR),
    "rslora": LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=LINEAR),
    "patterns": LoraConfig(
        r=2,
        lora_alpha=8,
        target_modules=LINEAR,
        rank_pattern={"query": 4, "layer.1.attention.self.value": 3},
        alpha_pattern={"value": 5, "layer.0.intermediate.dense": 1},
    ),
    "some layers": LoraConfig(r=3, target_modules=["query"], layers_to_transform=[1]),
    "embedding": LoraConfig(r=3, lora_alpha=6, target_modules=["word_embeddings", "query"]),
    "bias": LoraConfig(r=3, lora_alpha=9, lora_bias=True, target_modules=LINEAR),
    "fan_in_fan_out": LoraConfig(r=3, lora_alpha=9, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"]),
    "ia3": IA3Config(
        target_modules=["key", "value", "intermediate.dense", "output.dense"],
        feedforward_modules=["output.dense"],
    ),
    "ia3 turned": IA3Config(
        target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True
    ),
}
TURNED = ("fan_in_fan_out", "ia3 turned")


def base_of(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "initializer_range": 0.3}
    model: torch.nn.Module
    if kind in TURNED:
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, **sizes))
    else:
        config = BertConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=16,
            **sizes,
        )
        model = BertModel(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def save_random(kind: str, folder: Path, seed: int) -> None:
    model = get_peft_model(base_of(kind), KINDS[kind])
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "ia3_" in name:
            torch.nn.init.normal_(parameter, mean=1.0 if "ia3_" in name else 0.0, std=0.2)
    model.peft_config["default"].base_model_name_or_path = "acme/tiny"
    model.save_pretrained(str(folder), save_embedding_layers=False)


def answers(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.arange(24).reshape(3, 8)
    with torch.no_grad():
        return model(input_ids=ids)[0]


def expected(kind: str, folders: list[Path], weights: list[float]) -> torch.Tensor:
    """θ₀ + Σ wᵢ(θᵢ − θ₀) with θᵢ as peft itself folds each adapter into the base."""
    start = {name: value.double() for name, value in base_of(kind).state_dict().items()}
    summed = dict(start)
    for folder, weight in zip(folders, weights, strict=True):
        folded = PeftModel.from_pretrained(base_of(kind), str(folder)).merge_and_unload().state_dict()
        summed = {name: value + weight * (folded[name].double() - start[name]) for name, value in summed.items()}
    model = base_of(kind)
    model.load_state_dict({name: value.float() for name, value in summed.items()})
    return answers(model)


def merge(tmp_path: Path, folders: list[Path], weights: list[float], **output: object) -> Path:
    recipe = parse(
        {
            "merge_method": "task_arithmetic",
            "inputs": [{"adapter": f"a/{n}", "weight": weight} for n, weight in enumerate(weights)],
            "parameters": {"lambda": 1.0},
            "output": output,
        }
    )
    inputs = [LocalAdapter(f"a/{n}", folder) for n, folder in enumerate(folders)]
    report = run(recipe, inputs, tmp_path / "merged", lambda done, total, text: None)
    assert report.totals.error < 1e-6
    return tmp_path / "merged"


@pytest.mark.parametrize(("form", "weights"), [("exact", [0.7, -0.4]), ("stacked", [1.0, 0.0])])
@pytest.mark.parametrize("kind", list(KINDS))
def test_peft_computes_the_same_with_the_merge_as_with_the_sum(
    kind: str, form: str, weights: list[float], tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for seed, folder in enumerate(folders):
        save_random(kind, folder, seed + 1)
    merged = merge(tmp_path, folders, weights, form=form)
    loaded = answers(PeftModel.from_pretrained(base_of(kind), str(merged)))
    assert (loaded - answers(base_of(kind))).abs().max() > 1e-2
    torch.testing.assert_close(loaded, expected(kind, folders, weights), atol=2e-5, rtol=1e-4)


def test_adapters_of_different_ranks_scalings_and_modules_add_up(tmp_path: Path) -> None:
    folders = [tmp_path / kind for kind in ("plain", "rslora", "embedding")]
    for seed, folder in enumerate(folders):
        save_random(folder.name, folder, seed)
    merged = merge(tmp_path, folders, [1.0, 0.5, 0.25])
    loaded = answers(PeftModel.from_pretrained(base_of("plain"), str(merged)))
    torch.testing.assert_close(loaded, expected("plain", folders, [1.0, 0.5, 0.25]), atol=2e-5, rtol=1e-4)


def test_the_exact_rank_is_no_larger_than_it_must_be(tmp_path: Path) -> None:
    save_random("plain", tmp_path / "one", 1)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    tensors = load_file(tmp_path / "two" / "adapter_model.safetensors")
    tensors = {name: value * 2 if "lora_B" in name else value for name, value in tensors.items()}
    save_file(tensors, tmp_path / "two" / "adapter_model.safetensors")
    merged = merge(tmp_path, [tmp_path / "one", tmp_path / "two"], [1.0, 0.5])
    assert LoraConfig.from_pretrained(str(merged)).r == 4


def test_task_arithmetic_is_what_peft_calls_cat(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for seed, folder in enumerate(folders):
        save_random("plain", folder, seed)
    model = PeftModel.from_pretrained(base_of("plain"), str(folders[0]), adapter_name="one")
    model.load_adapter(str(folders[1]), adapter_name="two")
    model.add_weighted_adapter(["one", "two"], [0.8, 0.3], "both", combination_type="cat")
    model.set_adapter("both")
    merged = PeftModel.from_pretrained(base_of("plain"), str(merge(tmp_path, folders, [0.8, 0.3])))
    torch.testing.assert_close(answers(merged), answers(model), atol=2e-5, rtol=1e-4)
    assert (
        peft.get_peft_model_state_dict(merged).keys()
        == load_file(tmp_path / "merged" / "adapter_model.safetensors").keys()
    )
