"""One batch, many adapters: the base is computed once for all rows, each row gets its own LoRA update and head.

At every adapted layer the rows' factors are gathered and applied with two batched products (as Punica and S-LoRA do on
GPUs, Chen et al. 2023, Sheng et al. 2023), so the cost hardly depends on how many adapters a batch mixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import Linear
from torch.nn.functional import linear, pad

from adapters.runtime.adapter_files import PIECES, PREFIX, AdapterFiles, scaling_of
from adapters.runtime.batching import encode
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.runtime import Runtime

HEADS = ("classifier", "score")


@dataclass(frozen=True)
class _Plain:
    """An adapter reduced to what a mixed batch needs: factors with the scaling inside, and its head."""

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    head: tuple[torch.Tensor, torch.Tensor | None]
    labels: tuple[str, ...] | None


class MixedBatches:
    """Plain LoRA adapters with linear heads over one runtime's base; adapters of other kinds are refused by `add`."""

    def __init__(self, runtime: Runtime) -> None:
        """`runtime` must have been made to classify."""
        self.runtime = runtime
        self._known: dict[str, _Plain] = {}
        self._stacks: dict[tuple[str, ...], dict[str, tuple[torch.Tensor, torch.Tensor]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def add(self, name: str, files: AdapterFiles) -> bool:
        """Take an adapter into mixed batches; False when only the slower way (one adapter a batch) can run it.

        One that does not fit the base is not taken either: the slower way says what is wrong with it.
        """
        plain = _plain(files, self.runtime)
        if plain is not None:
            self._known[name] = plain
        return plain is not None

    def remove(self, name: str) -> None:
        """Forget an adapter, if it is known."""
        self._known.pop(name, None)
        self._stacks = {names: stack for names, stack in self._stacks.items() if name not in names}

    def logits(self, texts: Sequence[str], adapters: Sequence[str], *, batch_size: int = 32) -> list[np.ndarray]:
        """Each text's logits (labels of its own adapter,) from the adapter named beside it. Raises RuntimeFault."""
        missing = [name for name in adapters if name not in self._known]
        if missing:
            raise RuntimeFault(f"No adapter named {missing[0]} is attached for mixed batches.")
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows: list[np.ndarray] = [np.zeros(0, np.float32)] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                part = order[start : start + batch_size]
                fed = self._features([texts[index] for index in part], [adapters[index] for index in part])
                for index, feature in zip(part, fed, strict=True):
                    weight, bias = self._known[adapters[index]].head
                    rows[index] = linear(feature, weight, bias).float().cpu().numpy()
        return rows

    def labels(self, name: str) -> tuple[str, ...] | None:
        """The label order of an adapter's head."""
        return self._known[name].labels

    def _features(self, texts: list[str], adapters: list[str]) -> torch.Tensor:
        names = tuple(sorted(set(adapters)))
        stack = self._stacks.get(names) or self._stack(names)
        which = torch.tensor([names.index(name) for name in adapters], device=self.runtime.device)
        model, _ = self.runtime.model()
        modules = dict(model.named_modules())
        fed: list[torch.Tensor] = []
        batch = encode(self.runtime.tokenizer, texts, None, self.runtime.max_length)
        with ExitStack() as hooks:  # whatever happens, nobody's update stays on the shared base
            for module, pair in stack.items():
                hooks.callback(modules[module].register_forward_hook(_adding(*pair, which)).remove)
            head = modules[_head_of(model)]
            hooks.callback(head.register_forward_pre_hook(lambda _module, inputs: fed.append(inputs[0])).remove)
            model(**{name: tensor.to(self.runtime.device) for name, tensor in batch.items()})
        if not fed or fed[0].dim() != 2:
            raise RuntimeFault("This base's head does not read one vector a text. Run its adapters one at a time.")
        return fed[0]

    def _stack(self, names: tuple[str, ...]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Per module (adapters, r, in) and (adapters, out, r), padded with zeros to the largest rank."""
        stacked = {}
        for module in sorted({module for name in names for module in self._known[name].factors}):
            pairs = [self._known[name].factors.get(module) for name in names]
            known = [pair for pair in pairs if pair is not None]
            rank = max(pair[0].shape[0] for pair in known)
            down, up = (
                known[0][0].new_zeros(rank, known[0][0].shape[1]),
                known[0][1].new_zeros(known[0][1].shape[0], rank),
            )
            filled = [pair or (down, up) for pair in pairs]
            stacked[module] = (
                torch.stack([pad(a, (0, 0, 0, rank - a.shape[0])) for a, _ in filled]),
                torch.stack([pad(b, (0, rank - b.shape[1])) for _, b in filled]),
            )
        if len(self._stacks) >= 8:
            self._stacks.pop(next(iter(self._stacks)))
        self._stacks[names] = stacked
        return stacked


def _adding(down: torch.Tensor, up: torch.Tensor, which: torch.Tensor) -> Any:
    a, b = down[which].transpose(1, 2), up[which].transpose(1, 2)

    def hook(_module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        values = inputs[0] if inputs[0].dim() == 3 else inputs[0].unsqueeze(1)  # a pooler reads one vector a row
        if len(values) != len(which):  # DeBERTa feeds its table of positions, which belongs to no row
            raise RuntimeFault("A module of this base reads other things than rows. Run its adapters one at a time.")
        return output + torch.bmm(torch.bmm(values, a), b).reshape(output.shape)

    return hook


def _plain(files: AdapterFiles, runtime: Runtime) -> _Plain | None:
    config: Any = files.config
    odd = config.peft_type != "LORA" or config.use_dora or config.fan_in_fan_out or config.lora_bias
    if odd or runtime.task != "classify":
        return None
    factors: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in files.tensors.items():
        piece = next((piece for piece in PIECES if piece in name), "")
        if piece not in (".lora_A", ".lora_B"):
            return None
        factors.setdefault(name[len(PREFIX) : name.index(piece)], {})[piece] = tensor.float().to(runtime.device)
    model, _ = runtime.model()
    place = runtime.device
    replaced = {name.removeprefix(PREFIX): tensor.to(place) for name, tensor in files.replaced.items()}
    at = _head_of(model)
    weight, bias = replaced.pop(f"{at}.weight", None), replaced.pop(f"{at}.bias", None)
    if weight is None or replaced or any(len(pair) != 2 for pair in factors.values()):
        return None
    modules = dict(model.named_modules())
    if not _head_fits(modules[at], weight, bias) or not all(
        module != at and _fits(modules.get(module), pair[".lora_A"], pair[".lora_B"])
        for module, pair in factors.items()
    ):
        return None
    scaled = {
        module: (pair[".lora_A"], pair[".lora_B"] * scaling_of(config, module, pair[".lora_A"].shape[0]))
        for module, pair in factors.items()
    }
    return _Plain(scaled, (weight, bias), files.labels)


def _head_of(model: Any) -> str:
    """Where the base has its head; "" when not at a place known here."""
    return next((name for name in HEADS if isinstance(getattr(model, name, None), Linear)), "")


def _head_fits(module: Any, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    if weight.dim() != 2 or not len(weight) or not isinstance(module, Linear):
        return False
    return weight.shape[1] == module.in_features and (bias is None or bias.shape == weight.shape[:1])


def _fits(module: Any, down: torch.Tensor, up: torch.Tensor) -> bool:
    """Whether (r, in) and (out, r) belong to a linear module of the base; None: the base has no such module."""
    if not isinstance(module, Linear) or down.dim() != 2 or up.dim() != 2:
        return False
    return (down.shape[1], up.shape[0], up.shape[1]) == (module.in_features, module.out_features, down.shape[0])
