"""Where an adapter sits on a base: peft's configuration of each method, and the parameters it trains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PromptTuningConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file

from adapters.runtime.adapter_files import PIECES
from adapters.runtime.bases import first_line
from adapters.runtime.quiet import quiet_and_offline
from merges.training.loaded import HEADS
from merges.training.settings import Settings, TrainingFault


def adapter_config(model: Any, settings: Settings, *, causal: bool) -> PeftConfig:
    """peft's configuration for these settings; an encoder's new head is saved with the adapter."""
    common: dict[str, Any] = {
        "task_type": "CAUSAL_LM" if causal else "SEQ_CLS",
        "modules_to_save": None if causal else [name for name in HEADS if hasattr(model, name)],
    }
    if settings.method == "prompt":
        return PromptTuningConfig(**common, num_virtual_tokens=settings.virtual_tokens)
    common["target_modules"] = list(settings.target_modules) or None
    if settings.method == "ia3":
        return IA3Config(**common, feedforward_modules=list(settings.feedforward_modules) or None)
    if settings.method == "bias":
        # peft has no BitFit. LoRA's bias on B gives every targeted layer a trained bias, whether the base has one or
        # not; with A and B fixed at zero and scaling one nothing else changes, and every peft loads it.
        common["target_modules"] = common["target_modules"] or "all-linear"
        return LoraConfig(**common, r=1, lora_alpha=1, lora_bias=True)
    return LoraConfig(
        **common,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft declares int and computes with floats
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
    )


def placed(plain: Any, config: PeftConfig, settings: Settings, start: Path | None = None) -> Any:
    """The base with a fresh adapter, or with the tensors of the adapter folder `start` (never its head).

    Raises TrainingFault when it cannot be placed or `start` is of another shape.
    """
    try:
        with quiet_and_offline():
            model = get_peft_model(plain, config)
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingFault(f"The adapter cannot be placed on this base: {first_line(error)}") from error
    if settings.method == "bias":
        for name, parameter in model.named_parameters():
            if ".lora_A." in name or (".lora_B." in name and name.endswith("weight")):
                parameter.requires_grad_(False)
                with torch.no_grad():
                    parameter.zero_()
    if start is not None:
        _begin_from(model, start)
    return model


def start_settings(settings: Settings, start: Path) -> Settings:
    """Settings that fit the LoRA or IA3 adapter to start from: its method, rank, alpha, scaling and modules.

    Raises TrainingFault for an adapter that cannot be gone on with.
    """
    raw = json.loads((start / "adapter_config.json").read_text(encoding="utf-8"))
    kind = str(raw.get("peft_type", "")).upper()
    names = raw.get("target_modules")
    modules = tuple(sorted(names)) if isinstance(names, list) else ()
    if kind == "LORA" and not raw.get("rank_pattern") and not raw.get("alpha_pattern") and not raw.get("use_dora"):
        return replace(
            settings, method="lora", rank=int(raw.get("r") or 8), alpha=float(raw.get("lora_alpha") or 8),
            rslora=raw.get("use_rslora") is True, target_modules=modules,
        )  # fmt: skip
    if kind == "IA3":
        feedforward = raw.get("feedforward_modules")
        return replace(
            settings, method="ia3", target_modules=modules,
            feedforward_modules=tuple(sorted(feedforward)) if isinstance(feedforward, list) else (),
        )  # fmt: skip
    raise TrainingFault("Only a plain LoRA or IA3 adapter can be gone on with. Start from the base instead.")


def write_adapter(model: Any, config: PeftConfig, labels: list[str], output: Path, base_name: str) -> tuple[str, ...]:
    """Write adapter_config.json, adapter_model.safetensors and labels.json, and return their names."""
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    output.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"}
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())},
        str(output / "adapter_model.safetensors"),
        metadata=metadata,
    )
    stated = {**config.to_dict(), "base_model_name_or_path": base_name or None, "inference_mode": True}
    if stated.get("modules_to_save"):  # peft adds the usual heads whether they were named or not
        stated["modules_to_save"] = list(dict.fromkeys(stated["modules_to_save"]))
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in stated.items()}
    texts = {
        "adapter_config.json": json.dumps(plain, indent=2, sort_keys=True, default=str),
        "labels.json": json.dumps(labels, ensure_ascii=False),
    }
    for name, text in texts.items():
        (output / name).write_text(text + "\n", encoding="utf-8")
    return ("adapter_config.json", "adapter_model.safetensors", "labels.json")


def trained_head(model: Any) -> torch.nn.Linear | None:
    """The new head of a classifier if it is one linear layer, else None."""
    inner = getattr(model.base_model, "model", model.base_model)
    for name in HEADS:
        wrapped = getattr(inner, name, None)
        if wrapped is not None and hasattr(wrapped, "modules_to_save"):
            head = wrapped.modules_to_save["default"]
            return head if isinstance(head, torch.nn.Linear) and head.bias is not None else None
    return None


def _begin_from(model: Any, start: Path) -> None:
    tensors = {
        name: tensor
        for name, tensor in load_file(str(start / "adapter_model.safetensors")).items()
        if any(piece in name for piece in PIECES)
    }
    try:
        # peft asks for every saved module, so the new head is handed back to it as it is.
        own = get_peft_model_state_dict(model, save_embedding_layers=False)
        result = set_peft_model_state_dict(model, {**own, **tensors})
    except (RuntimeError, ValueError, KeyError) as error:
        raise TrainingFault(f"The adapter to start from does not fit this base: {first_line(error)}") from error
    if result.unexpected_keys or not tensors or tensors.keys() - own.keys():
        raise TrainingFault("The adapter to start from does not fit this base. Start from the base instead.")
