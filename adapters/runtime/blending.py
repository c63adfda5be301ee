"""One adapter out of several, for one input: Σ wᵢ ΔWᵢ, exact, by laying the factors side by side.

This is how a soft router is applied (SMEAR, Muqeeth et al. 2023): weights are averaged, not answers. Only plain LoRA
adapters with the same labels in the same order (or none) have a common output to average towards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from peft import LoraConfig

from adapters.runtime.adapter_files import PREFIX, AdapterFiles, scaling_of
from adapters.runtime.errors import RuntimeFault


def blend(parts: Sequence[AdapterFiles], weights: Sequence[float]) -> AdapterFiles:
    """The adapter whose update is Σ wᵢ ΔWᵢ and whose head is Σ wᵢ headᵢ. Raises RuntimeFault when none can be made."""
    if not parts or len(parts) != len(weights):
        raise RuntimeFault("There is nothing to blend: give as many weights as adapters.")
    if len({part.labels for part in parts}) > 1 or len({frozenset(part.replaced) for part in parts}) > 1:
        raise RuntimeFault(
            "These adapters have different labels, so their weights cannot be averaged. Use one of them."
        )
    if any(len({part.replaced[name].shape for part in parts}) > 1 for name in parts[0].replaced):
        raise RuntimeFault("These adapters have heads of different sizes, so they cannot be averaged. Use one of them.")
    downs: dict[str, list[torch.Tensor]] = {}
    ups: dict[str, list[torch.Tensor]] = {}
    for part, weight in zip(parts, weights, strict=True):
        for module, (down, up) in _factors(part).items():
            downs.setdefault(module, []).append(down)
            ups.setdefault(module, []).append(up * weight)
    tensors = {}
    for module in downs:
        tensors[f"{PREFIX}{module}.lora_A.weight"] = torch.cat(downs[module], dim=0)
        tensors[f"{PREFIX}{module}.lora_B.weight"] = torch.cat(ups[module], dim=1)
    replaced = {
        name: torch.stack([w * part.replaced[name] for part, w in zip(parts, weights, strict=True)]).sum(0)
        for name in parts[0].replaced
    }
    ranks = {module: int(tensors[f"{PREFIX}{module}.lora_A.weight"].shape[0]) for module in downs}
    rank = next(iter(ranks.values()))
    pattern = {f"^{re.escape(module)}": value for module, value in ranks.items() if value != rank}
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=sorted(ranks), rank_pattern=pattern, alpha_pattern=dict(pattern),
        inference_mode=True,
    )  # fmt: skip
    return AdapterFiles(config, tensors, replaced, parts[0].labels)


def _factors(files: AdapterFiles) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    config = files.config
    if not isinstance(config, LoraConfig) or config.use_dora or config.lora_bias:
        raise RuntimeFault("Only plain LoRA adapters can be blended. Merge the others first.")
    found = {}
    for name, down in files.tensors.items():
        if not name.endswith(".lora_A.weight"):
            continue
        module = name[len(PREFIX) : -len(".lora_A.weight")]
        scaling = scaling_of(config, module, down.shape[0])
        found[module] = (down.float(), files.tensors[name.replace(".lora_A.", ".lora_B.")].float() * scaling)
    if 2 * len(found) != len(files.tensors):
        raise RuntimeFault("Only plain LoRA adapters can be blended. Merge the others first.")
    return found
