"""Looks into an adapter or a base and says what it holds (facts) and whether that is sound (findings)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from adapters.formats import strict_json
from adapters.formats.errors import FormatError
from adapters.formats.findings import Finding, Inspection
from adapters.formats.modules import PAIRS, RANKED, BaseIndex, WeightRole, role_of
from adapters.formats.peft_config import MAX_CONFIG_BYTES, PeftConfig, parse_config
from adapters.formats.safetensors_header import Header, TensorInfo, join_headers, read_header
from adapters.formats.shapes import fits_base
from adapters.formats.soundness import complete, finite, names_match, not_all_zero, rank_agrees, valid_weights
from adapters.formats.statistics import measure

__all__ = ["Finding", "Inspection", "inspect_adapter", "inspect_base"]


def inspect_adapter(config: bytes, weights: Path, base: Header | None) -> Inspection:
    """Facts and findings of one adapter: its adapter_config.json, its safetensors file, the header of its base.

    Never raises for what the files hold; a broken rule becomes a failed finding. `base` is None when the base is not
    on this hub. Reads the weights by positional reads in bounded memory.
    """
    findings: list[Finding] = []
    facts: dict[str, Any] = {"bytes": weights.stat().st_size}
    parsed = _config(config, findings)
    if parsed is not None:
        facts |= _config_facts(parsed)
    try:
        header = read_header(weights)
        statistics = measure(weights)
    except FormatError as error:
        findings.append(Finding("valid_weights", "fail", error.message, {"code": error.code}))
        return Inspection(facts, findings)
    findings.append(valid_weights(header))
    facts |= _tensor_facts(header)
    if parsed is not None and header.tensors:
        try:
            _judge(parsed, header, base, facts, findings)
        except FormatError as error:  # a pattern that proved too costly
            findings[0] = Finding("valid_config", "fail", error.message, {"code": error.code})
    findings.append(finite(statistics))
    findings.append(not_all_zero(statistics))
    facts["values"] = {
        "nan": sum(item.nan for item in statistics.values()),
        "infinite": sum(item.infinite for item in statistics.values()),
        "largest": max((item.largest for item in statistics.values()), default=0.0),
        "zero_tensors": sum(item.all_zero for item in statistics.values()),
    }
    return Inspection(facts, findings)


def _judge(
    config: PeftConfig, header: Header, base: Header | None, facts: dict[str, Any], findings: list[Finding]
) -> None:
    """Add the facts and findings for which configuration and weights are read together."""
    roles = [role_of(name, config) for name in header.tensors]
    facts |= _adapter_facts(config, header, roles, base)
    findings += [
        names_match(config, roles),
        complete(config, roles),
        rank_agrees(config, header, roles),
        fits_base(config, header, roles, base),
    ]


def inspect_base(config: bytes | None, headers: dict[str, Header]) -> Inspection:
    """Facts and findings of a base: its config.json and the headers of its safetensors files by file name.

    Values are not read; a base's files are large and their headers say what adapters must fit.
    """
    findings: list[Finding] = []
    facts: dict[str, Any] = _base_config(config, findings)
    try:
        header = join_headers(headers.values())
    except FormatError as error:
        findings.append(Finding("valid_weights", "fail", error.message, {"code": error.code}))
        return Inspection(facts, findings)
    findings.append(valid_weights(header))
    facts |= _tensor_facts(header)
    facts |= {
        "files": len(headers),
        "bytes": sum(info.nbytes for info in header.tensors.values()),
        "base_parameters": BaseIndex(header).parameters,
        "embedding_width": BaseIndex(header).embedding_width,
    }
    return Inspection(facts, findings)


def _config(data: bytes, findings: list[Finding]) -> PeftConfig | None:
    try:
        config = parse_config(data)
    except FormatError as error:
        findings.append(Finding("valid_config", "fail", error.message, {"code": error.code}))
        return None
    problems = config.unsupported()
    if problems:
        findings.append(Finding("valid_config", "warn", " ".join(problems), {"unknown": sorted(config.unknown)[:50]}))
    else:
        summary = f"adapter_config.json is a valid {config.method_label} configuration."
        findings.append(Finding("valid_config", "pass", summary, {"unknown": sorted(config.unknown)[:50]}))
    return config


def _base_config(data: bytes | None, findings: list[Finding]) -> dict[str, Any]:
    if data is None:
        findings.append(Finding("valid_config", "warn", "There is no config.json, so the architecture is not known."))
        return {}
    try:
        config = strict_json.loads(data, what="config.json", max_bytes=MAX_CONFIG_BYTES)
        if not isinstance(config, dict):
            raise FormatError("config_type", "config.json is not a JSON object. Save the model again.")
    except FormatError as error:
        findings.append(Finding("valid_config", "fail", error.message, {"code": error.code}))
        return {}
    facts: dict[str, Any] = {}
    for key in ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "torch_dtype"):
        value = config.get(key)
        if isinstance(value, int) or (isinstance(value, str) and len(value) <= 100):
            facts[key] = value
    architectures = config.get("architectures")
    if isinstance(architectures, list):
        facts["architectures"] = [name[:100] for name in architectures[:5] if isinstance(name, str)]
    if config.get("auto_map"):
        summary = "config.json names its own code (auto_map); that code is never run here."
        findings.append(Finding("valid_config", "warn", summary))
    else:
        kind = facts.get("model_type", "model of unknown type")
        findings.append(Finding("valid_config", "pass", f"config.json describes a {kind}."))
    return facts


def _config_facts(config: PeftConfig) -> dict[str, Any]:
    return {
        "peft_type": config.peft_type,
        "method": config.method_label,
        "task_type": config.task_type,
        "base_model": config.base_model,
        "rank": config.rank,
        "alpha": config.alpha,
        "virtual_tokens": config.virtual_tokens,
    }


def _tensor_facts(header: Header) -> dict[str, Any]:
    parameters: Counter[str] = Counter()
    for info in header.tensors.values():
        parameters[info.dtype] += info.count
    return {
        "tensors": [[info.name, info.dtype, list(info.shape)] for info in header.tensors.values()],
        "dtypes": dict(Counter(info.dtype for info in header.tensors.values()).most_common()),
        "parameters": dict(parameters),
    }


def _adapter_facts(config: PeftConfig, header: Header, roles: list[WeightRole], base: Header | None) -> dict[str, Any]:
    infos = header.tensors
    modules = sorted({role.module for role in roles if role.part in (*PAIRS, "ia3_l")})
    ranks = {role.module: infos[role.name].shape[0] for role in roles if role.part in RANKED and infos[role.name].shape}
    scalings = Counter(_scaling(config, module, rank) for module, rank in ranks.items())
    copied = {role.name for role in roles if role.part == "base_copy" and role.parameter == "weight"}
    trained = sum(info.count for name, info in infos.items() if name not in copied)
    base_parameters = BaseIndex(base).parameters if base is not None else None
    counted = Counter(ranks.values()).most_common()
    return {
        "rank": counted[0][0] if counted else config.rank,
        "ranks": {str(rank): count for rank, count in counted},
        "scaling": scalings.most_common(1)[0][0] if scalings else None,
        "target_modules": sorted({module.rsplit(".", 1)[-1] for module in modules}),
        "modules": modules,
        "module_count": len(modules),
        "trained_parameters": trained,
        "copied_parameters": sum(infos[name].count for name in copied),
        "head_parameters": sum(infos[role.name].count for role in roles if role.part == "head"),
        "base_parameters": base_parameters,
        "share_of_base": trained / base_parameters if base_parameters else None,
        "heads": _heads(infos, roles),
    }


def _scaling(config: PeftConfig, module: str, rank: int) -> float | None:
    value = config.scaling_of(module, rank)
    return None if value is None else float(f"{value:.6g}")


def _heads(infos: dict[str, TensorInfo], roles: list[WeightRole]) -> list[dict[str, Any]]:
    """Heads by module: their parameters, and how many outputs the last weight matrix has."""
    heads: dict[str, dict[str, Any]] = {}
    for role in roles:
        if role.part == "head":
            shape = infos[role.name].shape
            head = heads.setdefault(role.module, {"module": role.module, "outputs": None, "parameters": 0})
            head["parameters"] += infos[role.name].count
            if role.parameter.endswith("weight") and len(shape) == 2:
                head["outputs"] = shape[0]
    return list(heads.values())
