"""adapter_config.json by our own schema: what peft would execute or fetch because a file says so never gets that far.

Known keys are checked for type and range; unknown keys are kept for display and dropped for execution. `auto_mapping`
(a module to import), tokenizer names (something to fetch) and run-time settings are always dropped. Strings that peft
matches as regular expressions are accepted only in the subset of `patterns`, and are handed on as explicit lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from adapters.formats import strict_json
from adapters.formats.config_fields import (
    COMMON,
    MAX_RANK,
    SCHEMAS,
    UNSUPPORTED_VARIANTS,
    check_field,
)
from adapters.formats.errors import FormatError
from adapters.formats.patterns import PatternTable, compiled, dotted_ends, is_plain_name

MAX_CONFIG_BYTES = 1024 * 1024
MAX_PATTERNS = 32
ALL_LINEAR = "all-linear"
LABELS = {"LORA": "LoRA", "IA3": "IA3", "PROMPT_TUNING": "Prompt tuning", "PREFIX_TUNING": "Prefix tuning"}
# These initialisations also rewrite the base when peft loads them, so the adapter alone does not say what it does.
_REWRITING_INITS = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class PeftConfig:
    """A checked configuration. `known` holds the accepted keys as given, `unknown` the others, for display only."""

    peft_type: str
    task_type: str | None
    base_model: str | None
    revision: str | None
    rank: int | None
    alpha: float | None
    rslora: bool
    dora: bool
    target_modules: list[str] | str | None
    exclude_modules: list[str] | str | None
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    layers_to_transform: list[int] | None
    layers_pattern: list[str]
    modules_to_save: list[str]
    feedforward_modules: list[str] | str | None
    fan_in_fan_out: bool
    bias: str
    virtual_tokens: int | None
    known: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, Any] = field(default_factory=dict)

    @property
    def method_label(self) -> str:
        """The method's name for people: LoRA, rsLoRA, DoRA, IA3, Prompt tuning, Prefix tuning."""
        if self.peft_type == "LORA" and self.dora:
            return "DoRA (rank-stabilised)" if self.rslora else "DoRA"
        if self.peft_type == "LORA" and self.rslora:
            return "rsLoRA"
        return LABELS[self.peft_type]

    def rank_of(self, module: str) -> int | None:
        """The rank this configuration promises for a module path."""
        key = self._tables["rank_pattern"].first(module)
        return self.rank if key is None else self.rank_pattern[key]

    def scaling_of(self, module: str, rank: int | None = None) -> float | None:
        """The factor on B·A: alpha/r (Hu et al. 2021) or alpha/sqrt(r) for rsLoRA (Kalajdzievski 2023).

        `rank` is the rank measured in the weights; without it the promised one counts.
        """
        key = self._tables["alpha_pattern"].first(module)
        alpha = self.alpha if key is None else self.alpha_pattern[key]
        rank = rank or self.rank_of(module)
        if alpha is None or not rank:
            return None
        return float(alpha / rank**0.5 if self.rslora else alpha / rank)

    def targets(self, module: str) -> bool | None:
        """Whether a module path is among the targets; None when the file leaves that to the library's defaults."""
        if self.target_modules is None or _is_all_linear(self.target_modules):
            return None
        if self.exclude_modules and _names(self._sets["exclude_modules"], module):
            return False
        if not isinstance(self.target_modules, str) and module in self._sets["target_modules"]:
            return True  # a full path in the list is meant whatever its layer
        if not _names(self._sets["target_modules"], module):
            return False
        return self.layers_to_transform is None or _layer(module, self.layers_pattern) in self.layers_to_transform

    def is_feedforward(self, module: str) -> bool:
        """IA3: whether the vector scales the module's input instead of its output."""
        return bool(self.feedforward_modules) and _names(self._sets["feedforward_modules"], module)

    def is_kept(self, module: str) -> bool:
        """Whether `modules_to_save` names this module: a head or another module that is saved whole."""
        return _names(self._sets["modules_to_save"], module)

    @cached_property
    def _tables(self) -> dict[str, PatternTable]:
        return {"rank_pattern": PatternTable(self.rank_pattern), "alpha_pattern": PatternTable(self.alpha_pattern)}

    @cached_property
    def _sets(self) -> dict[str, frozenset[str] | str]:
        keys = ("target_modules", "exclude_modules", "feedforward_modules", "modules_to_save")
        values = {key: getattr(self, key) or [] for key in keys}
        return {key: value if isinstance(value, str) else frozenset(value) for key, value in values.items()}

    def unsupported(self) -> list[str]:
        """Sentences on what this file asks for that cannot be run faithfully here."""
        problems = [
            f"It uses {key}, which is not supported here." for key in UNSUPPORTED_VARIANTS if self.known.get(key)
        ]
        init = self.known.get("init_lora_weights")
        if isinstance(init, str) and init.lower().startswith(_REWRITING_INITS):
            problems.append(
                f"It was initialised by {init}, which also changes the base; save it again with "
                "path_initial_model_for_weight_conversion to make it an ordinary LoRA."
            )
        return problems

    def sanitised(self, modules: Iterable[str] | None = None) -> str:
        """The JSON that is safe to hand to peft: known execution keys only, and no patterns left in it.

        `modules` are the full paths that the weights carry (`modules.adapted_modules`); with them, targets become
        that explicit list and rank and alpha patterns become one entry per module. Without them, lists of plain
        names pass and a pattern raises FormatError `pattern_needs_modules`. Raises `unsupported` for variants that
        would silently give other results.
        """
        problems = self.unsupported()
        if problems:
            raise FormatError("unsupported", " ".join(problems))
        result = {key: self.known[key] for key in COMMON.execution if key in self.known}
        result |= {key: self.known[key] for key in SCHEMAS[self.peft_type].execution if key in self.known}
        result |= {"peft_type": self.peft_type, "base_model_name_or_path": None, "inference_mode": True}
        if self.modules_to_save:
            result["modules_to_save"] = list(dict.fromkeys(self.modules_to_save))
        if self.peft_type in ("LORA", "IA3"):
            self._resolve_targets(result, sorted(set(modules)) if modules is not None else None)
        return json.dumps(result, indent=2, sort_keys=True)

    def _resolve_targets(self, result: dict[str, Any], modules: list[str] | None) -> None:
        if modules is None:
            patterned = [*self.rank_pattern, *self.alpha_pattern, *self.layers_pattern]
            for names in (self.target_modules, self.exclude_modules, self.feedforward_modules):
                patterned += [names] if isinstance(names, str) else names or []
            if not all(is_plain_name(name) for name in patterned):
                raise FormatError(
                    "pattern_needs_modules", "Patterns can only be handed on together with the weights they are for."
                )
            for key in ("target_modules", "exclude_modules", "feedforward_modules", "layers_to_transform"):
                if getattr(self, key) is not None:
                    result[key] = getattr(self, key)
            if self.layers_pattern:
                result["layers_pattern"] = self.layers_pattern
            if self.peft_type == "LORA":
                result |= {"rank_pattern": self.rank_pattern, "alpha_pattern": self.alpha_pattern}
            return
        result["target_modules"] = modules
        if self.peft_type == "IA3":
            result["feedforward_modules"] = [module for module in modules if self.is_feedforward(module)]
            return
        for name, patterns in (("rank_pattern", self.rank_pattern), ("alpha_pattern", self.alpha_pattern)):
            keys = {module: self._tables[name].first(module) for module in modules}
            result[name] = {module: patterns[key] for module, key in keys.items() if key is not None}


def parse_config(data: bytes) -> PeftConfig:
    """Check an adapter_config.json against our schema.

    Raises FormatError: the codes of strict_json, `config_type`, `unsupported_method`, `config_field` (wrong type or
    range), `config_missing`, `config_conflict`, `pattern`.
    """
    raw = strict_json.loads(data, what="adapter_config.json", max_bytes=MAX_CONFIG_BYTES)
    if not isinstance(raw, dict):
        raise FormatError("config_type", "adapter_config.json is not a JSON object. Save the adapter again with peft.")
    peft_type = raw.get("peft_type")
    if not isinstance(peft_type, str):
        raise FormatError("config_missing", "adapter_config.json does not say its peft_type. Save it again with peft.")
    if peft_type not in SCHEMAS:
        raise FormatError(
            "unsupported_method",
            f"The method {peft_type[:40]!r} is not understood here. Understood: {', '.join(SCHEMAS)}.",
        )
    fields = COMMON.fields | SCHEMAS[peft_type].fields
    given = {key: value for key, value in raw.items() if key in fields and value is not None}
    known = {key: check_field(key, fields[key], value) for key, value in given.items()}
    unknown = {key: value for key, value in raw.items() if key not in fields}
    _check_patterns(known)
    config = _build(peft_type, known, unknown)
    _check_agreement(config)
    return config


def _build(peft_type: str, known: dict[str, Any], unknown: dict[str, Any]) -> PeftConfig:
    lora = peft_type == "LORA"
    layers = known.get("layers_to_transform")
    layers_pattern = known.get("layers_pattern") or []
    return PeftConfig(
        peft_type=peft_type,
        task_type=known.get("task_type"),
        base_model=known.get("base_model_name_or_path") or None,
        revision=known.get("revision"),
        rank=known.get("r", 8) if lora else None,
        alpha=known.get("lora_alpha", 8) if lora else None,
        rslora=known.get("use_rslora") is True,
        dora=known.get("use_dora") is True,
        target_modules=known.get("target_modules"),
        exclude_modules=known.get("exclude_modules"),
        rank_pattern=known.get("rank_pattern") or {},
        alpha_pattern=known.get("alpha_pattern") or {},
        layers_to_transform=[layers] if isinstance(layers, int) else layers,
        layers_pattern=[layers_pattern] if isinstance(layers_pattern, str) else layers_pattern,
        modules_to_save=list(dict.fromkeys(known.get("modules_to_save") or [])),
        feedforward_modules=known.get("feedforward_modules"),
        fan_in_fan_out=known.get("fan_in_fan_out") is True,
        bias=known.get("bias") or "none",
        virtual_tokens=known.get("num_virtual_tokens"),
        known=known,
        unknown=unknown,
    )


def _check_patterns(known: dict[str, Any]) -> None:
    for key in ("target_modules", "exclude_modules", "feedforward_modules"):
        value = known.get(key)
        if isinstance(value, str) and not _is_all_linear(value):
            compiled(value)
        elif isinstance(value, list) and not all(is_plain_name(name) for name in value):
            raise FormatError("pattern", f"{key} must list plain module names such as 'query' or 'self_attn.q_proj'.")
    for name in known.get("modules_to_save") or []:
        if not is_plain_name(name):
            raise FormatError("pattern", f"modules_to_save holds {name[:60]!r}, which is not a plain module name.")
    layers_pattern = known.get("layers_pattern") or []
    texts = [
        *(known.get("rank_pattern") or {}),
        *(known.get("alpha_pattern") or {}),
        *([layers_pattern] if isinstance(layers_pattern, str) else layers_pattern),
    ]
    patterns = [text for text in texts if not is_plain_name(text)]
    if not isinstance(layers_pattern, str) and len(layers_pattern) > MAX_PATTERNS:
        raise FormatError(
            "pattern", f"layers_pattern lists {len(layers_pattern)} names; at most {MAX_PATTERNS} are accepted."
        )
    if len(patterns) > MAX_PATTERNS:
        raise FormatError("pattern", f"{len(patterns)} patterns; at most {MAX_PATTERNS} are accepted. List full names.")
    for text in patterns:
        compiled(text, dotted_end=True)


def _check_agreement(config: PeftConfig) -> None:
    if isinstance(config.target_modules, str) and (config.layers_to_transform is not None or config.layers_pattern):
        raise FormatError(
            "config_conflict", "layers_to_transform works only when target_modules is a list. List the module names."
        )
    if config.peft_type == "LORA" and not 1 <= (config.rank or 0) <= MAX_RANK:
        raise FormatError("config_field", f"r must be between 1 and {MAX_RANK}.")
    if config.peft_type in ("PROMPT_TUNING", "PREFIX_TUNING") and not config.virtual_tokens:
        raise FormatError("config_missing", "num_virtual_tokens is missing; a prompt needs at least one token.")


def _is_all_linear(names: list[str] | str | None) -> bool:
    return isinstance(names, str) and names.lower() == ALL_LINEAR


def _names(names: frozenset[str] | str, module: str) -> bool:
    if isinstance(names, str):
        return compiled(names).fullmatch(module)
    return any(end in names for end in dotted_ends(module))


def _layer(module: str, layers_pattern: list[str]) -> int | None:
    """The number of the layer a module is in: the first number in its path, or the first after a named container."""
    parts = module.split(".")
    numbers = [index for index, part in enumerate(parts[:-1]) if part.isdecimal() and index > 0]
    if not layers_pattern:
        return next((int(parts[index]) for index in numbers if index > 1), None)
    for pattern in layers_pattern:
        for index in numbers:
            if PatternTable([pattern]).first(".".join(parts[:index])) is not None:
                return int(parts[index])
    return None
