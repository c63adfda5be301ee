"""Read an adapter folder into tensors and a peft configuration that is derived from the tensors, never trusted.

peft takes target_modules, rank_pattern and alpha_pattern as regular expressions of the author; here the modules are
read off the tensor names and the ranks off their shapes, so nothing of the author's is ever run as an expression.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PromptTuningConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from adapters.formats import strict_json
from adapters.formats.errors import FormatError
from adapters.formats.peft_config import MAX_CONFIG_BYTES
from adapters.runtime.errors import RuntimeFault

PREFIX = "base_model.model."
PROMPT = "prompt_embeddings"
MOST_PROMPT_TOKENS = 1024
PIECES = (".lora_A", ".lora_B", ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector", ".ia3_l")
PLAIN_NAME = re.compile(r"\^?[\w.-]{1,200}")


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter in memory: peft's configuration, its tensors, and whole parameters it replaces (heads, biases)."""

    config: PeftConfig
    tensors: dict[str, torch.Tensor]
    replaced: dict[str, torch.Tensor]
    labels: tuple[str, ...] | None


def read_adapter(folder: Path, head: Path | None = None) -> AdapterFiles:
    """Read adapter_config.json, adapter_model.safetensors and labels.json of a folder.

    `head` names a head file (heads/<owner>--<name>.safetensors of a merge) used instead of the adapter's own head; its
    labels stand beside it as <owner>--<name>.labels.json. Raises RuntimeFault.
    """
    raw = _json(folder / "adapter_config.json")
    if not isinstance(raw, dict):
        raise RuntimeFault("adapter_config.json is not a JSON object. Save the adapter again with save_pretrained().")
    kind = str(raw.get("peft_type", "")).upper()
    tensors, replaced = {}, {}
    for name, tensor in _tensors(folder / "adapter_model.safetensors").items():
        if name == PROMPT:
            tensors[name] = tensor
            continue
        if kind == "PROMPT_TUNING" and name.startswith("base_model."):
            name = PREFIX + name.removeprefix("base_model.")
        if not name.startswith(PREFIX):
            raise RuntimeFault(f"The adapter's tensor {name!r} is not named as peft names it (base_model.model....).")
        if any(piece in name for piece in PIECES):
            tensors[name] = tensor
        else:
            replaced[name] = tensor.float()
    labels_file = folder / "labels.json"
    if head is not None:
        replaced |= _head(head)
        labels_file = head.with_suffix(".labels.json")
    return AdapterFiles(_config(raw, tensors), tensors, replaced, _labels(labels_file))


def scaling_of(config: LoraConfig, module: str, rank: int) -> float:
    """The factor on B·A of one module, for a configuration as `read_adapter` derives it: its patterns name modules."""
    alpha = (config.alpha_pattern or {}).get("^" + re.escape(module), config.lora_alpha)
    return float(alpha / rank**0.5 if config.use_rslora else alpha / rank)


def read_head(head: Path) -> AdapterFiles:
    """A head file alone, for a base that holds the rest: an adapter that changes nothing else. Raises RuntimeFault."""
    config = LoraConfig(r=1, target_modules=[], inference_mode=True)
    return AdapterFiles(config, {}, _head(head), _labels(head.with_suffix(".labels.json")))


def _head(path: Path) -> dict[str, torch.Tensor]:
    named = _tensors(path).items()
    return {name if name.startswith(PREFIX) else PREFIX + name: value.float() for name, value in named}


def write_plain(files: AdapterFiles, folder: Path, base: Path, *, seq2seq: bool = False) -> Path:
    """Write an adapter as peft reads it, from the derived configuration and tensors only. Raises RuntimeFault."""
    if files.replaced:
        raise RuntimeFault("This adapter replaces whole parameters of its base, which only the hub's own harness runs.")
    config = files.config
    config.base_model_name_or_path = str(base)
    config.task_type = "SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM"
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    tensors = {name: tensor.contiguous() for name, tensor in files.tensors.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def _config(raw: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> PeftConfig:
    kind = str(raw.get("peft_type", "")).upper()
    if not tensors:
        raise RuntimeFault(
            "The adapter's weights hold no LoRA, IA3 or prompt tensor. Save it again with save_pretrained()."
        )
    if single := next((name for name, tensor in tensors.items() if not tensor.ndim), ""):
        raise RuntimeFault(f"{single} is a single number, which changes no module. Save it again with peft.")
    if kind == "LORA":
        return _lora(raw, tensors)
    if kind == "IA3":
        return _ia3(raw, tensors)
    if kind == "PROMPT_TUNING":
        return _prompt(tensors)
    raise RuntimeFault(f"Adapters of type {kind or 'none'} cannot be run here yet. Use LoRA, IA3 or prompt tuning.")


def _prompt(tensors: Mapping[str, torch.Tensor]) -> PromptTuningConfig:
    prompt = tensors.get(PROMPT)
    if prompt is None or prompt.ndim != 2 or not 1 <= len(prompt) <= MOST_PROMPT_TOKENS:
        raise RuntimeFault("The adapter's weights hold no usable prompt_embeddings. Save it again with peft.")
    return PromptTuningConfig(num_virtual_tokens=len(prompt), token_dim=int(prompt.shape[1]), inference_mode=True)


def _lora(raw: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> LoraConfig:
    for key in ("layer_replication", "target_parameters", "trainable_token_indices", "megatron_config"):
        if raw.get(key):
            raise RuntimeFault(f"The adapter uses {key}, which cannot be run here. Train it without {key}.")
    start = raw.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(("pissa", "olora", "corda", "loftq", "lora_ga")):
        raise RuntimeFault(
            f"The adapter was saved as {start} changes to its base. Convert it to plain LoRA when saving."
        )
    ranks: dict[str, int] = {}
    for name, tensor in tensors.items():
        for piece in (".lora_A", ".lora_embedding_A"):
            if piece in name:
                ranks[_module(name, piece)] = int(tensor.shape[0])
    if not ranks or min(ranks.values()) < 1:
        raise RuntimeFault("The adapter's weights hold no usable lora_A tensor. Save it again with save_pretrained().")
    rank = next(iter(ranks.values()))
    alpha = _number(raw.get("lora_alpha", 8), "lora_alpha")
    alphas = _patterns(raw.get("alpha_pattern"), ranks)
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft declares int and computes with floats
        target_modules=sorted(ranks),
        rank_pattern={f"^{re.escape(module)}": value for module, value in ranks.items() if value != rank},
        alpha_pattern={f"^{re.escape(module)}": value for module, value in alphas.items()},
        use_rslora=raw.get("use_rslora") is True,
        use_dora=raw.get("use_dora") is True,
        lora_bias=any(name.endswith(".lora_B.bias") for name in tensors),
        fan_in_fan_out=raw.get("fan_in_fan_out") is True,
        lora_dropout=0.0,
        inference_mode=True,
    )


def _ia3(raw: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> IA3Config:
    shapes = {_module(name, ".ia3_l"): tuple(tensor.shape) for name, tensor in tensors.items() if ".ia3_l" in name}
    # An IA3 vector is (1, inputs) before a feedforward layer and (outputs, 1) behind any other.
    return IA3Config(
        target_modules=sorted(shapes),
        feedforward_modules=sorted(module for module, shape in shapes.items() if shape[0] == 1),
        fan_in_fan_out=raw.get("fan_in_fan_out") is True,
        inference_mode=True,
    )


def _patterns(raw: Any, ranks: Mapping[str, int]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pattern, value in (raw or {}).items() if isinstance(raw, dict | None) else ():
        if not PLAIN_NAME.fullmatch(str(pattern)):
            raise RuntimeFault(f"alpha_pattern holds the expression {str(pattern)[:80]!r}. Name plain modules instead.")
        for module in ranks:
            plain = pattern.lstrip("^")
            if module == plain or (not pattern.startswith("^") and module.endswith("." + plain)):
                found.setdefault(module, _number(value, "alpha_pattern"))
    return found


def _module(name: str, piece: str) -> str:
    return name[len(PREFIX) : name.index(piece)]


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise RuntimeFault(f"{key} in adapter_config.json is not a usable number. Correct it and upload again.")
    return value


def _labels(path: Path) -> tuple[str, ...] | None:
    if not path.is_file():
        return None
    labels = _json(path)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise RuntimeFault(
            f"{path.name} is not a list of label names. Write the labels in the order of the head's outputs."
        )
    return tuple(labels)


def _json(path: Path) -> Any:
    try:
        return strict_json.loads(path.read_bytes(), what=path.name, max_bytes=MAX_CONFIG_BYTES)
    except FileNotFoundError as error:
        raise RuntimeFault(f"{path.name} is missing. Upload all files that save_pretrained() wrote.") from error
    except FormatError as error:
        raise RuntimeFault(error.message) from error


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(str(path))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise RuntimeFault(f"{path.name} is missing. Save the adapter with save_pretrained() and upload it.") from error
    except SafetensorError as error:
        raise RuntimeFault(f"{path.name} is not a readable safetensors file. Upload it again.") from error
