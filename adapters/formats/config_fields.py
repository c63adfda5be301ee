"""The schema of adapter_config.json: which keys each method may carry, their types, and which are handed on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from adapters.formats.errors import FormatError

MAX_RANK = 4096
MAX_ITEMS = 5_000
MAX_TEXT = 1000
MAX_SIZE = 1 << 20
TASK_TYPES = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")


@dataclass(frozen=True)
class Schema:
    """`fields` maps a key to the name of its type; `execution` are the keys safe to hand to peft as they are."""

    fields: dict[str, str]
    execution: tuple[str, ...]


_PROMPT_SIZES = {
    "num_virtual_tokens": "size", "token_dim": "size", "num_transformer_submodules": "size",
    "num_attention_heads": "size", "num_layers": "size", "modules_to_save": "names",
}  # fmt: skip

# Truthy values of these change what the adapter computes in ways nothing here repeats.
UNSUPPORTED_VARIANTS = (
    "layer_replication", "target_parameters", "trainable_token_indices", "use_qalora", "use_bdlora", "velora_config",
    "monteclora_config", "arrow_config", "kasa_config", "alora_invocation_tokens", "megatron_config",
)  # fmt: skip

COMMON = Schema(
    {
        "peft_type": "text", "task_type": "task_type", "base_model_name_or_path": "text", "revision": "text",
        "inference_mode": "flag", "peft_version": "text",
    },
    ("task_type",),
)  # fmt: skip

SCHEMAS: dict[str, Schema] = {
    "LORA": Schema(
        {
            "r": "rank", "lora_alpha": "number", "lora_dropout": "share", "fan_in_fan_out": "flag", "bias": "bias",
            "use_rslora": "flag", "use_dora": "flag", "lora_bias": "flag", "target_modules": "names_or_pattern",
            "exclude_modules": "names_or_pattern", "modules_to_save": "names", "rank_pattern": "ranks",
            "alpha_pattern": "numbers", "layers_to_transform": "layers", "layers_pattern": "names_or_pattern",
            "init_lora_weights": "init",
        } | dict.fromkeys(UNSUPPORTED_VARIANTS, "any"),
        ("r", "lora_alpha", "lora_dropout", "fan_in_fan_out", "bias", "use_rslora", "use_dora", "lora_bias"),
    ),
    "IA3": Schema(
        {
            "target_modules": "names_or_pattern", "exclude_modules": "names_or_pattern",
            "feedforward_modules": "names_or_pattern", "fan_in_fan_out": "flag", "modules_to_save": "names",
            "init_ia3_weights": "flag",
        },
        ("fan_in_fan_out", "init_ia3_weights"),
    ),
    "PROMPT_TUNING": Schema(
        _PROMPT_SIZES | {"prompt_tuning_init": "text", "prompt_tuning_init_text": "any"},
        tuple(key for key in _PROMPT_SIZES if key != "modules_to_save"),
    ),
    "PREFIX_TUNING": Schema(
        _PROMPT_SIZES | {"encoder_hidden_size": "size", "prefix_projection": "flag"},
        (*(key for key in _PROMPT_SIZES if key != "modules_to_save"), "encoder_hidden_size", "prefix_projection"),
    ),
}  # fmt: skip


def check_field(key: str, kind: str, value: Any) -> Any:
    """The value if it fits its kind. Raises FormatError `config_field`."""
    if _CHECKS[kind](value):
        return value
    raise FormatError("config_field", f"{key} in adapter_config.json must be {_EXPECTED[kind]}.")


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= 1e9


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_ITEMS and all(_is_text(item) for item in value)


def _is_map(value: Any, check: Any) -> bool:
    return isinstance(value, dict) and len(value) <= MAX_ITEMS and all(check(item) for item in value.values())


def _is_rank(value: Any) -> bool:
    return _is_int(value) and 1 <= value <= MAX_RANK


def _is_layers(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return len(items) <= MAX_ITEMS and all(_is_int(item) and 0 <= item < MAX_SIZE for item in items)


_CHECKS: dict[str, Any] = {
    "any": lambda _: True,
    "text": _is_text,
    "flag": lambda value: isinstance(value, bool),
    "size": lambda value: _is_int(value) and 1 <= value <= MAX_SIZE,
    "rank": _is_rank,
    "number": _is_number,
    "share": lambda value: _is_number(value) and 0 <= value < 1,
    "names": _is_names,
    "names_or_pattern": lambda value: _is_text(value) or _is_names(value),
    "ranks": lambda value: _is_map(value, _is_rank),
    "numbers": lambda value: _is_map(value, _is_number),
    "layers": _is_layers,
    "bias": lambda value: value in ("none", "all", "lora_only"),
    "init": lambda value: isinstance(value, bool) or _is_text(value),
    "task_type": lambda value: value in TASK_TYPES,
}
_EXPECTED: dict[str, str] = {
    "text": f"text of at most {MAX_TEXT} letters",
    "flag": "true or false",
    "size": f"a whole number between 1 and {MAX_SIZE:,}",
    "rank": f"a whole number between 1 and {MAX_RANK:,}",
    "number": "a finite number",
    "share": "a number from 0 up to 1",
    "names": "a list of module names",
    "names_or_pattern": "a list of module names or one pattern",
    "ranks": f"an object of whole numbers between 1 and {MAX_RANK:,}",
    "numbers": "an object of finite numbers",
    "layers": "a layer number or a list of layer numbers",
    "bias": "'none', 'all' or 'lora_only'",
    "init": "true, false or the name of an initialisation",
    "task_type": "one of " + ", ".join(TASK_TYPES),
}
