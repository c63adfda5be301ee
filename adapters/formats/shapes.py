"""Whether an adapter's matrices can be applied to a base (LoRA: Hu et al. 2021; IA3: Liu et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from adapters.formats.findings import Finding
from adapters.formats.modules import BaseIndex, WeightRole
from adapters.formats.peft_config import PeftConfig
from adapters.formats.safetensors_header import Header, TensorInfo


@dataclass(frozen=True)
class Mismatch:
    """One module whose shapes do not agree with the base."""

    module: str
    tensor: str
    adapter_shape: tuple[int, ...]
    base_shape: tuple[int, ...]


def fits_base(config: PeftConfig, header: Header, roles: Iterable[WeightRole], base: Header | None) -> Finding:
    """The finding `fits_base`: warns when the base is not known, fails on the first module that does not fit.

    Two modules that are one tensor of the base do not fit either: each was taught for a layer of its own.
    """
    if base is None:
        named = f"The base {config.base_model[:100]} is" if config.base_model else "No base is named, or it is"
        return Finding("fits_base", "warn", f"{named} not on this hub, so the shapes could not be compared.")
    index = BaseIndex(base)
    if config.peft_type in ("PROMPT_TUNING", "PREFIX_TUNING"):
        return _prompt_fits(config, header, index)
    missing: list[str] = []
    mismatches: list[Mismatch] = []
    modules: set[str] = set()
    owners: dict[str, str] = {}
    shared: list[tuple[str, str, str]] = []
    for role in roles:
        if role.part not in _EXPECTED_AXES:
            continue
        modules.add(role.module)
        weight = index.weight(role.module)
        if weight is None:
            missing.append(role.module)
            continue
        if role.part != "base_copy" and (owner := owners.setdefault(weight.name, role.module)) != role.module:
            shared.append((*sorted((owner, role.module)), weight.name))  # type: ignore[arg-type]
        shape = header.tensors[role.name].shape
        if not _agrees(role.part, shape, weight, config):
            mismatches.append(Mismatch(role.module, role.name, shape, weight.shape))
    if shared and not missing and not mismatches:
        one, other, name = min(shared)
        words = f"The base has only {name} for both {one} and {other}, so the adapter was made for another base."
        return Finding("fits_base", "fail", words, {"modules": len(modules), "tensor": name, "shared": [one, other]})
    return _verdict(len(modules), sorted(set(missing)), mismatches)


def _verdict(modules: int, missing: list[str], mismatches: list[Mismatch]) -> Finding:
    details: dict[str, Any] = {"modules": modules, "missing": missing[:50], "mismatched": len(mismatches)}
    if mismatches:
        first = mismatches[0]
        details |= {
            "module": first.module,
            "tensor": first.tensor,
            "adapter_shape": list(first.adapter_shape),
            "base_shape": list(first.base_shape),
        }
        tensor = first.tensor.removeprefix(f"base_model.model.{first.module}.")
        return Finding(
            "fits_base",
            "fail",
            f"{first.module}: the adapter's {tensor} is {_shape(first.adapter_shape)} "
            f"but the base's weight is {_shape(first.base_shape)}, so it cannot be applied.",
            details,
        )
    if missing:
        return Finding(
            "fits_base",
            "fail",
            f"The base has no module {missing[0]} ({len(missing)} of {modules} modules are not in it).",
            details,
        )
    return Finding(
        "fits_base", "pass", f"The base has every module named and the shapes agree ({modules} in all).", details
    )


# For each part: the axis of the tensor that must equal the module's inputs ("in") or outputs ("out").
_EXPECTED_AXES: dict[str, tuple[int, str]] = {
    "lora_A": (1, "in"),
    "lora_B": (0, "out"),
    "lora_embedding_A": (1, "out"),
    "lora_embedding_B": (0, "in"),
    "lora_magnitude_vector": (0, "out"),
    "lora_bias": (0, "out"),
    "ia3_l": (0, "either"),
    "base_copy": (0, "copy"),
}


def _agrees(part: str, shape: tuple[int, ...], weight: TensorInfo, config: PeftConfig) -> bool:
    if len(weight.shape) < 2:
        return part == "base_copy"
    outputs, inputs = weight.shape[0], weight.shape[1]
    if config.fan_in_fan_out and len(weight.shape) == 2 and not part.startswith("lora_embedding"):
        outputs, inputs = inputs, outputs
    axis, side = _EXPECTED_AXES[part]
    if side == "copy":
        return shape in (weight.shape, (outputs,))
    if not shape:
        return False
    if side == "either":
        count = 1
        for size in shape:
            count *= size
        return count == (inputs if shape[0] == 1 and count > 1 else outputs)
    if part == "lora_magnitude_vector" and max(shape, default=0) in (outputs, inputs):
        return True
    return len(shape) > axis and shape[axis] == (inputs if side == "in" else outputs)


def _prompt_fits(config: PeftConfig, header: Header, index: BaseIndex) -> Finding:
    info = header.tensors.get("prompt_embeddings")
    width = index.embedding_width
    if info is None or len(info.shape) != 2 or width is None or config.peft_type == "PREFIX_TUNING":
        return Finding("fits_base", "warn", "The prompt's shape could not be compared with this base.")
    details = {"adapter_shape": list(info.shape), "base_width": width}
    if info.shape[1] != width:
        return Finding(
            "fits_base",
            "fail",
            f"prompt_embeddings: the prompt is {info.shape[1]} wide but the base's embeddings are {width} wide.",
            details,
        )
    return Finding("fits_base", "pass", f"The prompt is as wide as the base's embeddings ({width}).", details)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
