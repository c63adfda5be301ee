"""Hooks on adapted layers: what goes in on the way forward, the gradient on the way back, squared for each example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import numpy as np
import torch

PREFIX = "base_model.model."
Call = tuple[torch.Tensor, torch.Tensor]
"""What went into a layer at one call (rows × tokens × n, or rows × n), and the gradient back at its output."""


@dataclass
class Measured:
    """Sums over examples. `fisher` and `gram` by weight name (as merges name it), `tokens` behind the Grams."""

    fisher: dict[str, torch.Tensor] = field(default_factory=dict)
    gram: dict[str, torch.Tensor] = field(default_factory=dict)
    tokens: int = 0
    examples: int = 0

    def fishers(self) -> dict[str, np.ndarray]:
        """F = (1/N) Σ per-example squares, float32."""
        return {name: (value / self.examples).float().cpu().numpy() for name, value in self.fisher.items()}

    def grams(self) -> dict[str, np.ndarray]:
        """XᵀX / tokens, (n × n) or its diagonal (n), float32."""
        return {name: (value / self.tokens).float().cpu().numpy() for name, value in self.gram.items()}


class LinearHooks:
    """One adapted linear layer, y = W x: ∂/∂W of one example is GᵀX over its tokens.

    `mask` says which tokens the Gram counts (None: no Gram in this pass), `weights` how much each example's square
    counts. With `one_example` all rows of the batch are one example: their gradients are summed, then squared.
    A layer that is called several times in a pass (ALBERT shares one among all its depths) has one gradient, the sum
    over its calls: each call's input waits for its own gradient, and the square is taken when the last one is back.
    """

    def __init__(self, name: str, module: Any, measured: Measured, fisher: bool, gram: str) -> None:
        self._name, self._module, self._measured, self._fisher, self._gram = name, module, measured, fisher, gram
        self.mask: torch.Tensor | None = None
        self.weights: torch.Tensor = torch.zeros(0)
        self.one_example = False
        self._calls = 0
        self._back: list[Call] = []
        self._handles: list[Any] = []

    def __enter__(self) -> LinearHooks:
        self._handles = [self._module.register_forward_hook(self._forward)]
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def settle(self) -> None:
        """End a backward pass: square what is back where some calls had no part in the outcome."""
        if self._back:
            back, self._back = self._back, []
            self._squares(back)

    def forget(self) -> None:
        """Free the last batch."""
        self._calls, self._back = 0, []

    def _forward(self, _module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        given = inputs[0].detach()
        if self._gram != "none" and self.mask is not None:
            self._add(self._measured.gram, self._name, self._moment(given, self.mask))
        self._await(given, output)

    def _await(self, given: torch.Tensor, output: torch.Tensor) -> None:
        if self._fisher and output.requires_grad:
            self._calls += 1
            output.register_hook(partial(self._backward, given))

    def _backward(self, given: torch.Tensor, gradient: torch.Tensor) -> None:
        self._back.append((given, gradient))
        if len(self._back) == self._calls:
            self.settle()

    def _moment(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = (values[mask] if values.dim() == 3 else values).double()
        return seen.square().sum(0) if self._gram == "diagonal" else seen.T @ seen

    def _squares(self, calls: list[Call]) -> None:
        one = "bsm,bsn->bmn" if calls[0][1].dim() == 3 else "bm,bn->bmn"
        self._square(self._name, _total(torch.einsum(one, gradient, given) for given, gradient in calls))
        if any(part.bias is not None for part in getattr(self._module, "lora_B", {}).values()):
            self._square(f"{self._name}.bias", _total(_over_tokens(gradient) for _, gradient in calls))

    def _square(self, name: str, each: torch.Tensor) -> None:
        """Add the squares of gradients of shape (rows, ...), weighted."""
        if self.one_example:
            each = each.sum(0, keepdim=True)
        self._add(self._measured.fisher, name, torch.einsum("b...,b->...", each.square(), self.weights))

    @staticmethod
    def _add(sums: dict[str, torch.Tensor], name: str, value: torch.Tensor) -> None:
        sums[name] = sums[name] + value if name in sums else value


class VectorHooks(LinearHooks):
    """An IA3 vector: y = l ⊙ z, so ∂/∂l = Σ over tokens of g ⊙ z, with z the output or the input."""

    def _forward(self, module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if self._fisher and output.requires_grad:
            given = inputs[0] if module.is_feedforward else module.get_base_layer()(inputs[0])
            self._await(given.detach(), output)

    def _squares(self, calls: list[Call]) -> None:
        weight: torch.Tensor | None = None
        if self._module.is_feedforward:
            weight = self._module.get_base_layer().weight.detach()
            weight = weight.T if self._module.fan_in_fan_out else weight
        products = (given * (gradient if weight is None else gradient @ weight) for given, gradient in calls)
        self._square(self._name, _total(_over_tokens(product) for product in products))


class EmbeddingHooks(LinearHooks):
    """An embedding, y = W[:, token] (hidden × vocabulary): only columns of tokens that occur have a gradient.

    Its inputs are one-hot, so their Gram is diagonal: how often each token occurs, over all tokens.
    """

    def _moment(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        size = self._module.get_base_layer().num_embeddings
        return torch.bincount(values[mask].flatten(), minlength=size).double()

    def _squares(self, calls: list[Call]) -> None:
        given, gradient = (torch.cat(parts, dim=1) for parts in zip(*calls, strict=True))
        size = self._module.get_base_layer().num_embeddings
        squares = gradient.new_zeros((gradient.shape[-1], size))
        rows = [(given.flatten(), gradient.flatten(0, -2))] if self.one_example else zip(
            given, gradient, strict=True
        )  # fmt: skip
        for (ids, values), weight in zip(rows, self.weights, strict=True):
            tokens, place = ids.unique(return_inverse=True)
            each = values.new_zeros((len(tokens), values.shape[-1])).index_add(0, place, values)
            squares[:, tokens] += weight * each.square().T
        self._add(self._measured.fisher, self._name, squares)


class ConvolutionHooks(LinearHooks):
    """A convolution (outputs × inputs·kernel): a linear layer on the patches it slides over, each patch a token."""

    def _patches(self, values: torch.Tensor) -> torch.Tensor:
        base = self._module.get_base_layer()
        flat = isinstance(base, torch.nn.Conv1d)
        sizes = [(1, *pair) if flat else pair for pair in (base.kernel_size, base.dilation, base.stride)]
        padding = (0, *base.padding) if flat else base.padding
        return torch.nn.functional.unfold(
            values.unsqueeze(2) if flat else values, sizes[0], dilation=sizes[1], padding=padding, stride=sizes[2]
        )

    def _moment(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = self._patches(values).transpose(1, 2).flatten(0, 1).double()
        return seen.square().sum(0) if self._gram == "diagonal" else seen.T @ seen

    def _squares(self, calls: list[Call]) -> None:
        each = (torch.einsum("bml,bnl->bmn", gradient.flatten(2), self._patches(given)) for given, gradient in calls)
        self._square(self._name, _total(each))


def _over_tokens(values: torch.Tensor) -> torch.Tensor:
    """Rows × tokens × n summed over the tokens; rows × n as they are."""
    return values.sum(1) if values.dim() == 3 else values


def _total(parts: Iterator[torch.Tensor]) -> torch.Tensor:
    """The sum over a layer's calls, one at a time."""
    return reduce(torch.add, parts)


def hooks_on(model: Any, measured: Measured, fisher: bool, gram: str) -> list[LinearHooks]:
    """Hooks for every adapted layer, under the name merges give it.

    Grouped convolutions are left out, and vectors on any convolution.
    """
    found: list[LinearHooks] = []
    for name, module in model.named_modules():
        kind = _kind_of(module)
        if kind is not None:
            found.append(kind(name.removeprefix(PREFIX), module, measured, fisher, gram))
    return found


def _kind_of(module: Any) -> type[LinearHooks] | None:
    if getattr(module, "ia3_l", None):
        return None if isinstance(module.get_base_layer(), torch.nn.Conv2d | torch.nn.Conv3d) else VectorHooks
    if getattr(module, "lora_embedding_A", None):
        return EmbeddingHooks
    if not getattr(module, "lora_A", None):
        return None
    base = module.get_base_layer()
    if isinstance(base, torch.nn.Conv1d | torch.nn.Conv2d):
        return ConvolutionHooks if base.groups == 1 and not isinstance(base.padding, str) else None
    linear = all(isinstance(part, torch.nn.Linear) for part in module.lora_A.values())
    return LinearHooks if linear else None
