"""Teach a specialist: examples in, adapter files and a curve out."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from adapters.runtime.bases import family_of, first_line, load_model, load_tokenizer, longest_input
from adapters.runtime.examples import Example
from adapters.runtime.quiet import choose_device, quiet_and_offline
from adapters.runtime.runtime import Progress, silent
from merges.training.descent import descend
from merges.training.learners import HeadLearner, LikelihoodLearner
from merges.training.settings import CurvePoint, Settings, TrainingFault

HEADS = ("classifier", "score")


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave: its curve, what it cost and which files it wrote.

    `seconds` is wall time without loading libraries; `peak_memory` is the process's highest resident size in bytes;
    `best` is the point of the curve whose weights were kept.
    """

    curve: tuple[CurvePoint, ...]
    best: CurvePoint
    labels: tuple[str, ...]
    n: int
    steps: int
    seconds: float
    peak_memory: int
    trainable: int
    share: float
    device: str
    stopped_early: bool
    files: tuple[str, ...]


def teach(
    base: Path,
    examples: Sequence[Example],
    settings: Settings,
    output: Path,
    progress: Progress = silent,
    *,
    validation: Sequence[Example] = (),
    labels: Sequence[str] | None = None,
    base_name: str = "",
    device: str | None = None,
    threads: int = 1,
) -> TrainingResult:
    """Train an adapter for `base` on `examples` and write it to `output` (adapter_config.json, weights, labels.json).

    An encoder gets a sequence-classification head, a causal language model learns to continue with the label. `labels`
    fixes the order of the outputs (default: sorted); `base_name` (owner/name) is recorded as the base. The epoch of the
    lowest validation loss is kept where there is `validation`. `progress` is called after every step; what it raises
    ends the training with nothing written. On CPU equal inputs and seed give equal files. Raises TrainingFault or
    RuntimeFault.
    """
    started = time.perf_counter()
    settings.check()
    order = check_examples(examples, validation, labels)
    torch.set_num_threads(threads)
    place = choose_device(device)
    causal = family_of(base) == "causal"
    tokenizer = load_tokenizer(base)
    devices = [place.index or 0] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), quiet_and_offline():
        torch.manual_seed(settings.seed)
        plain = load_model(base, labels=None if causal else len(order), pad=tokenizer.pad_token_id)
        total = sum(parameter.numel() for parameter in plain.parameters())
        config = adapter_config(plain, settings, causal=causal)
        model = _adapted(plain, config).to(place)
        limited = _limited(settings, plain)
        kind = LikelihoodLearner if causal else HeadLearner
        learner = kind(model, tokenizer, examples, validation, order, limited, place)
        if isinstance(learner, HeadLearner) and settings.warm_head:
            head = _trained_head(model)
            if head is not None:
                learner.warm_up_head(head)
        curve, best, steps = descend(model, learner, limited, bool(validation), progress)
    files = _write(model, config, order, output, base_name)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return TrainingResult(
        curve, best, tuple(order), len(examples), steps, time.perf_counter() - started, peak_memory(),
        trainable, trainable / total, str(place), curve[-1].epoch < settings.epochs, files,
    )  # fmt: skip


def check_examples(
    examples: Sequence[Example], validation: Sequence[Example], labels: Sequence[str] | None
) -> list[str]:
    """The labels in the order of the outputs. Raises TrainingFault for too few examples or labels that do not fit."""
    if len(examples) < 2:
        raise TrainingFault(f"There is {len(examples)} example. Give at least two, better sixteen for each label.")
    found = {example.label for example in examples}
    if len(found) < 2:
        raise TrainingFault(
            f"All examples carry the label {next(iter(found))!r}. Give examples of at least two labels."
        )
    order = list(labels) if labels is not None else sorted(found)
    if len(set(order)) != len(order):
        raise TrainingFault("A label is named twice. Name each label once.")
    strange = (found | {example.label for example in validation}) - set(order)
    if strange:
        raise TrainingFault(
            f"The label {sorted(strange)[0]!r} is not among the labels to learn. Add it or drop its rows."
        )
    return order


def adapter_config(model: Any, settings: Settings, *, causal: bool) -> PeftConfig:
    """peft's configuration for these settings; an encoder's new head is saved with the adapter."""
    heads = None if causal else [name for name in HEADS if hasattr(model, name)]
    common: dict[str, Any] = {
        "task_type": "CAUSAL_LM" if causal else "SEQ_CLS",
        "target_modules": list(settings.target_modules) or None,
        "modules_to_save": heads,
    }
    if settings.method == "ia3":
        return IA3Config(**common, feedforward_modules=list(settings.feedforward_modules) or None)
    return LoraConfig(
        **common,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft declares int and computes with floats
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
    )


def peak_memory() -> int:
    """Highest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _adapted(plain: Any, config: PeftConfig) -> Any:
    try:
        return get_peft_model(plain, config)
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingFault(f"The adapter cannot be placed on this base: {first_line(error)}") from error


def _limited(settings: Settings, model: Any) -> Settings:
    return replace(settings, max_length=longest_input(model, settings.max_length))


def _trained_head(model: Any) -> torch.nn.Linear | None:
    for name in HEADS:
        wrapped = getattr(model.base_model.model, name, None)
        if wrapped is not None and hasattr(wrapped, "modules_to_save"):
            head = wrapped.modules_to_save["default"]
            return head if isinstance(head, torch.nn.Linear) and head.bias is not None else None
    return None


def _write(model: Any, config: PeftConfig, labels: list[str], output: Path, base_name: str) -> tuple[str, ...]:
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    output.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())},
        str(output / "adapter_model.safetensors"),
        metadata={"format": "pt"},
    )
    stated = {**config.to_dict(), "base_model_name_or_path": base_name or None, "inference_mode": True}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in stated.items()}
    texts = {
        "adapter_config.json": json.dumps(plain, indent=2, sort_keys=True, default=str),
        "labels.json": json.dumps(labels, ensure_ascii=False),
    }
    for name, text in texts.items():
        (output / name).write_text(text + "\n", encoding="utf-8")
    return ("adapter_config.json", "adapter_model.safetensors", "labels.json")
