"""The verdicts on an adapter's own soundness, one function a finding; what concerns the base is in `shapes`."""

from __future__ import annotations

import math

from adapters.formats.findings import Finding, listed
from adapters.formats.modules import PAIRS, RANKED, WeightRole
from adapters.formats.patterns import dotted_ends
from adapters.formats.peft_config import PeftConfig
from adapters.formats.safetensors_header import Header
from adapters.formats.statistics import TensorStatistics


def valid_weights(header: Header) -> Finding:
    """The file follows its format (checked before) and holds tensors at all."""
    if not header.tensors:
        return Finding("valid_weights", "fail", "The file is valid safetensors but holds no tensor. Save it again.")
    return Finding("valid_weights", "pass", f"The weights are valid safetensors with {len(header.tensors):,} tensors.")


def names_match(config: PeftConfig, roles: list[WeightRole]) -> Finding:
    """Every tensor belongs to the method, and to a module that the configuration targets."""
    unknown = [role.name for role in roles if role.part == "unknown"]
    if unknown:
        hint = " They still hold an adapter name; save with save_pretrained." if ".default." in unknown[0] else ""
        return Finding(
            "names_match",
            "fail",
            f"{len(unknown)} tensors do not belong to a {config.method_label} adapter: {listed(unknown, 3)}.{hint}",
            {"unknown": unknown[:50]},
        )
    modules = sorted({role.module for role in roles if role.part in (*PAIRS, "ia3_l")})
    if not modules and config.peft_type in ("LORA", "IA3"):
        return Finding(
            "names_match", "fail", f"The file holds no {config.method_label} weights. Save the adapter again."
        )
    stray = [module for module in modules if config.targets(module) is False]
    if stray:
        return Finding(
            "names_match",
            "fail",
            f"{len(stray)} modules in the weights are not among target_modules: {listed(stray, 3)}.",
            {"not_targeted": stray[:50]},
        )
    absent = _absent_targets(config, modules)
    if absent:
        return Finding(
            "names_match",
            "warn",
            f"No weights were found for the target modules {listed(absent)}.",
            {"without_weights": absent[:50]},
        )
    return Finding("names_match", "pass", "Every tensor belongs to a module that the configuration names.")


def _absent_targets(config: PeftConfig, modules: list[str]) -> list[str]:
    if not isinstance(config.target_modules, list):
        return []
    endings = {end for module in modules for end in dotted_ends(module)}
    return sorted(name for name in set(config.target_modules) if name not in endings)


def complete(config: PeftConfig, roles: list[WeightRole]) -> Finding:
    """No matrix without its partner, no DoRA without magnitudes, a prompt where one is promised."""
    if config.peft_type in ("PROMPT_TUNING", "PREFIX_TUNING"):
        if any(role.part == "prompt" for role in roles):
            return Finding("complete", "pass", "The prompt is there.")
        return Finding("complete", "fail", "The file holds no prompt_embeddings. Save the adapter again with peft.")
    present = {(role.module, role.part) for role in roles}
    single = [
        f"{module} has {part} but no {PAIRS[part]}"
        for module, part in sorted(present)
        if part in PAIRS and (module, PAIRS[part]) not in present
    ]
    if single:
        more = f" ({len(single)} modules are incomplete)" if len(single) > 1 else ""
        return Finding("complete", "fail", f"{single[0]}{more}; save the adapter again.", {"incomplete": single[:50]})
    if config.dora:
        plain = sorted(
            module
            for module, part in present
            if part in ("lora_A", "lora_embedding_A") and (module, "lora_magnitude_vector") not in present
        )
        if plain:
            summary = f"The configuration says DoRA but {listed(plain, 3)} have no magnitude vector."
            return Finding("complete", "fail", summary, {"incomplete": plain[:50]})
    heads = {end for role in roles if role.part == "head" for end in dotted_ends(role.module)}
    lost = [kept for kept in config.modules_to_save if kept not in heads]
    if lost and len(lost) == len(config.modules_to_save):
        summary = f"modules_to_save names {listed(lost)}, but the file holds no such weights."
        return Finding("complete", "warn", summary, {"without_weights": lost[:50]})
    return Finding("complete", "pass", "Every module has all its parts.")


def rank_agrees(config: PeftConfig, header: Header, roles: list[WeightRole]) -> Finding:
    """The ranks measured in the matrices are the ones that `r` and `rank_pattern` promise."""
    if config.peft_type != "LORA":
        return Finding("rank_agrees", "pass", f"{config.method_label} has no rank.")
    wrong: list[str] = []
    inner = {(role.module, role.part): header.tensors[role.name].shape for role in roles}
    for (module, part), shape in sorted(inner.items()):
        if part not in PAIRS:
            continue
        axis = 0 if part in RANKED else 1
        promised = config.rank_of(module)
        measured = shape[axis] if len(shape) > axis else 0
        if len(shape) < 2 or measured != promised:
            wrong.append(f"{module}.{part} has rank {measured} where the configuration says {promised}")
    if wrong:
        more = f" ({len(wrong)} tensors differ)" if len(wrong) > 1 else ""
        return Finding("rank_agrees", "fail", f"{wrong[0]}{more}.", {"differences": wrong[:50]})
    return Finding("rank_agrees", "pass", "The ranks of all matrices are the ones the configuration says.")


def finite(statistics: dict[str, TensorStatistics]) -> Finding:
    """No NaN and no infinity."""
    bad = {name: item for name, item in statistics.items() if item.nan or item.infinite}
    if bad:
        nan, infinite = sum(item.nan for item in bad.values()), sum(item.infinite for item in bad.values())
        return Finding(
            "finite",
            "fail",
            f"{nan:,} values are NaN and {infinite:,} are infinite, in {listed(list(bad), 3)}. Train again.",
            {"nan": nan, "infinite": infinite, "tensors": list(bad)[:50]},
        )
    unread = [name for name, item in statistics.items() if not item.readable]
    if unread:
        return Finding("finite", "warn", f"The values of {listed(unread, 3)} have a type that could not be read.")
    return Finding("finite", "pass", "All values are finite.")


def not_all_zero(statistics: dict[str, TensorStatistics]) -> Finding:
    """Something was trained: not all zero, no empty tensor, B not zero, IA3 not all ones."""
    counted = {name: item for name, item in statistics.items() if item.count and item.readable}
    if counted and all(item.all_zero for item in counted.values()):
        return Finding("not_all_zero", "fail", "Every value is zero. Upload the trained weights.")
    if any(item.count == 0 for item in statistics.values()):
        empty = [name for name, item in statistics.items() if item.count == 0]
        summary = f"{listed(empty, 3)} hold no values; a sharded run was saved without gathering its parts."
        return Finding("not_all_zero", "fail", summary, {"empty": empty[:50]})
    halves = {name: item for name, item in counted.items() if ".lora_B." in name or name.endswith(".lora_embedding_A")}
    untrained = [name for name, item in halves.items() if item.all_zero]
    if halves and len(untrained) == len(halves):
        summary = "All B matrices are zero, as before training: the adapter changes nothing. It was never trained."
        return Finding("not_all_zero", "warn", summary, {"zero": untrained[:50]})
    if untrained:
        summary = f"{len(untrained)} of {len(halves)} B matrices are zero and change nothing: {listed(untrained, 3)}."
        return Finding("not_all_zero", "warn", summary, {"zero": untrained[:50]})
    vectors = [item for name, item in counted.items() if name.endswith(".ia3_l")]
    if vectors and all(item.smallest == item.greatest == 1 for item in vectors):
        return Finding(
            "not_all_zero", "warn", "All IA3 vectors are one, as before training: the adapter changes nothing."
        )
    largest = max((item.largest for item in counted.values()), default=0.0)
    magnitude = f"{largest:.3g}" if math.isfinite(largest) else "infinite"
    return Finding("not_all_zero", "pass", f"The weights are not zero; the largest value is {magnitude}.")
