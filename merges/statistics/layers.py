"""Hooks on adapted layers: what goes in on the way forward, the gradient on the way back, squared for each example."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

PREFIX = "base_model.model."


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
    """

    def __init__(self, name: str, module: Any, measured: Measured, fisher: bool, gram: str) -> None:
        self._name, self._module, self._measured, self._fisher, self._gram = name, module, measured, fisher, gram
        self.mask: torch.Tensor | None = None
        self.weights: torch.Tensor = torch.zeros(0)
        self.one_example = False
        self._input: torch.Tensor | None = None
        self._handles: list[Any] = []

    def __enter__(self) -> LinearHooks:
        self._handles = [self._module.register_forward_hook(self._forward)]
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def forget(self) -> None:
        """Free the last batch."""
        self._input = None

    def _forward(self, _module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._input = inputs[0].detach()
        if self._gram != "none" and self.mask is not None:
            self._add(self._measured.gram, self._name, self._moment(self._input, self.mask))
        if self._fisher and output.requires_grad:
            output.register_hook(self._backward)

    def _moment(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = (values[mask] if values.dim() == 3 else values).double()
        return seen.square().sum(0) if self._gram == "diagonal" else seen.T @ seen

    def _backward(self, gradient: torch.Tensor) -> None:
        assert self._input is not None
        one = "bsm,bsn->bmn" if gradient.dim() == 3 else "bm,bn->bmn"
        self._square(self._name, torch.einsum(one, gradient, self._input))
        if any(part.bias is not None for part in getattr(self._module, "lora_B", {}).values()):
            self._square(f"{self._name}.bias", gradient.sum(1) if gradient.dim() == 3 else gradient)

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
        if not (self._fisher and output.requires_grad):
            return
        base = module.get_base_layer()
        if module.is_feedforward:
            self._input = inputs[0].detach()
            output.register_hook(lambda gradient: self._scaled(gradient @ base.weight.detach()))
        else:
            self._input = base(inputs[0]).detach()
            output.register_hook(self._scaled)

    def _scaled(self, gradient: torch.Tensor) -> None:
        assert self._input is not None
        product = gradient * self._input
        self._square(self._name, product.sum(1) if product.dim() == 3 else product)


class EmbeddingHooks(LinearHooks):
    """An embedding, y = W[:, token] (hidden × vocabulary): only columns of tokens that occur have a gradient.

    Its inputs are one-hot, so their Gram is diagonal: how often each token occurs, over all tokens.
    """

    def _moment(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        size = self._module.get_base_layer().num_embeddings
        return torch.bincount(values[mask].flatten(), minlength=size).double()

    def _backward(self, gradient: torch.Tensor) -> None:
        assert self._input is not None
        size = self._module.get_base_layer().num_embeddings
        squares = gradient.new_zeros((gradient.shape[-1], size))
        rows = [(self._input.flatten(), gradient.flatten(0, -2))] if self.one_example else zip(
            self._input, gradient, strict=True
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

    def _backward(self, gradient: torch.Tensor) -> None:
        assert self._input is not None
        patches = self._patches(self._input)
        self._square(self._name, torch.einsum("bml,bnl->bmn", gradient.flatten(2), patches))


def hooks_on(model: Any, measured: Measured, fisher: bool, gram: str) -> list[LinearHooks]:
    """Hooks for every adapted layer, under the name merges give it; grouped convolutions are left out."""
    found: list[LinearHooks] = []
    for name, module in model.named_modules():
        kind = _kind_of(module)
        if kind is not None:
            found.append(kind(name.removeprefix(PREFIX), module, measured, fisher, gram))
    return found


def _kind_of(module: Any) -> type[LinearHooks] | None:
    if getattr(module, "ia3_l", None):
        return VectorHooks
    if getattr(module, "lora_embedding_A", None):
        return EmbeddingHooks
    if not getattr(module, "lora_A", None):
        return None
    base = module.get_base_layer()
    if isinstance(base, torch.nn.Conv1d | torch.nn.Conv2d):
        return ConvolutionHooks if base.groups == 1 and not isinstance(base.padding, str) else None
    linear = all(isinstance(part, torch.nn.Linear) for part in module.lora_A.values())
    return LinearHooks if linear else None
