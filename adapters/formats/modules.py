"""Weight names to module paths: what each tensor of an adapter is, and which tensor of the base it changes.

peft writes `base_model.model.<module>.lora_A.weight` and the like. A base's checkpoint may name the same module with
a prefix more or less (`bert.`, `model.`, `transformer.`), so modules are matched by the longest common ending.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from adapters.formats.peft_config import PeftConfig
from adapters.formats.safetensors_header import Header, TensorInfo

Part = Literal[
    "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "lora_bias", "ia3_l",
    "head", "base_copy", "token_delta", "prompt", "unknown",
]  # fmt: skip

_ENDINGS: tuple[tuple[str, Part], ...] = (
    (".lora_A.weight", "lora_A"),
    (".lora_B.weight", "lora_B"),
    (".lora_B.bias", "lora_bias"),
    (".lora_embedding_A", "lora_embedding_A"),
    (".lora_embedding_B", "lora_embedding_B"),
    (".lora_magnitude_vector", "lora_magnitude_vector"),
    (".lora_magnitude_vector.weight", "lora_magnitude_vector"),
    (".ia3_l", "ia3_l"),
    (".token_adapter.trainable_tokens_delta", "token_delta"),
)
_LORA: frozenset[Part] = frozenset(
    {"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "lora_bias"}
)
_ALLOWED: dict[str, frozenset[Part]] = {
    "LORA": _LORA | {"head", "base_copy", "token_delta"},
    "IA3": frozenset({"ia3_l", "head", "base_copy"}),
    "PROMPT_TUNING": frozenset({"prompt", "head"}),
    "PREFIX_TUNING": frozenset({"prompt", "head"}),
}
RANKED: tuple[Part, ...] = ("lora_A", "lora_embedding_A")
PAIRS: dict[Part, Part] = {
    "lora_A": "lora_B",
    "lora_B": "lora_A",
    "lora_embedding_A": "lora_embedding_B",
    "lora_embedding_B": "lora_embedding_A",
}
# Heads that peft adds for classification tasks without being told.
_USUAL_HEADS = frozenset({"classifier", "score", "qa_outputs"})
_COPY = re.compile(r"(?:\.base_layer)?\.(weight|bias)")
_MAX_PREFIX = 3
_MAX_DEPTH = 32


@dataclass(frozen=True)
class WeightRole:
    """What one tensor is: its full name, the module path it belongs to, and its part there.

    For heads and base copies `parameter` is the parameter's own name (weight, bias, ...).
    """

    name: str
    module: str
    part: Part
    parameter: str = ""


def role_of(name: str, config: PeftConfig) -> WeightRole:
    """What a tensor of an adapter file is, by its name and the configuration beside it."""
    if name == "prompt_embeddings":
        part: Part = "prompt" if config.peft_type in ("PROMPT_TUNING", "PREFIX_TUNING") else "unknown"
        return WeightRole(name, "", part)
    prefix = "base_model.model." if config.peft_type in ("LORA", "IA3") else "base_model."
    if not name.startswith(prefix) or name.count(".") > _MAX_DEPTH:
        return WeightRole(name, "", "unknown")
    role = _inner_role(name, name.removeprefix(prefix), config)
    return role if role.part in _ALLOWED[config.peft_type] else WeightRole(name, role.module, "unknown")


def _inner_role(name: str, path: str, config: PeftConfig) -> WeightRole:
    for ending, part in _ENDINGS:
        if path.endswith(ending) and len(path) > len(ending):
            return WeightRole(name, path[: -len(ending)], part)
    segments = [segment for segment in path.split(".") if segment != "modules_to_save"]
    for index in range(len(segments) - 1):
        module = ".".join(segments[: index + 1])
        if _is_head(module, segments[index], config):
            return WeightRole(name, module, "head", ".".join(segments[index + 1 :]))
    copy = _COPY.search(path)
    if copy is not None and copy.end() == len(path):
        parameter = copy.group(1)
        embedding = parameter == "weight" and (".base_layer." in path or "embed" in path or "lm_head" in path)
        if embedding or (parameter == "bias" and config.bias in ("all", "lora_only")):
            return WeightRole(name, path[: copy.start()], "base_copy", parameter)
    return WeightRole(name, path, "unknown")


def _is_head(module: str, last: str, config: PeftConfig) -> bool:
    if config.is_kept(module):
        return True
    return last in _USUAL_HEADS and config.task_type in ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")


def adapted_modules(header: Header, config: PeftConfig) -> list[str]:
    """Sorted module paths that carry LoRA or IA3 weights, as `PeftConfig.sanitised` wants them."""
    roles = (role_of(name, config) for name in header.tensors)
    return sorted({role.module for role in roles if role.part in ("lora_A", "lora_embedding_A", "ia3_l")})


class BaseIndex:
    """Finds the tensor of a base that a module path of an adapter means."""

    def __init__(self, header: Header) -> None:
        self.header = header

    @cached_property
    def _by_ending(self) -> dict[str, list[str]]:
        """Dotted endings to the modules that have them."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.header.tensors:
            if name.endswith(".weight"):
                module = name.removesuffix(".weight")
                for ending in endings(module):
                    found[ending].append(module)
        return found

    def weight(self, module: str) -> TensorInfo | None:
        """The base's weight for an adapter's module path: exact, else the longest ending that only one module has."""
        exact = self.header.tensors.get(module + ".weight")
        if exact is not None:
            return exact
        for ending in endings(module):
            found = self._by_ending.get(ending, [])
            if len(found) == 1:
                return self.header.tensors[found[0] + ".weight"]
        return None

    @property
    def embedding_width(self) -> int | None:
        """Width of the token embedding, judged by name and size; None when no tensor looks like one."""
        tables = [
            info
            for name, info in self.header.tensors.items()
            if len(info.shape) == 2
            and re.search(r"(word_embeddings|embed_tokens|wte|shared|tok_embeddings)\.weight$", name)
        ]
        return max(tables, key=lambda info: info.shape[0]).shape[1] if tables else None

    @property
    def parameters(self) -> int:
        """Number of parameters: elements of all floating tensors (index buffers are no parameters)."""
        return sum(
            info.count for info in self.header.tensors.values() if info.dtype[0] in "FB" and info.dtype != "BOOL"
        )


def endings(path: str, least: int = 1) -> list[str]:
    """A dotted path and its ends without up to three leading parts, the longest first, of `least` parts or more.

    A layer's number and the word before it are never dropped.
    """
    parts = path.split(".")
    found = []
    for dropped in range(min(_MAX_PREFIX, len(parts) - least) + 1):
        if any(part.isdecimal() for part in parts[: dropped + 1]):
            break
        found.append(".".join(parts[dropped:]))
    return found or [path]
