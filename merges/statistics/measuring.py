"""Diagonal Fisher information of ΔW, Grams of layer inputs, and the prototype of a task, from per-example gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime, encode, second_texts

Estimator = Literal["exact", "sampled", "empirical"]
ESTIMATORS: tuple[Estimator, ...] = ("exact", "sampled", "empirical")
Progress = Callable[[int, int, str], None]
BATCH = 8
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


def measure(
    runtime: Runtime,
    adapter: str,
    examples: Sequence[Example],
    labels: Sequence[str],
    *,
    fisher: bool = True,
    gram: Literal["full", "diagonal", "none"] = "full",
    estimator: Estimator = "exact",
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Measured:
    """Run the adapted model (with its head) over examples and gather what its layers see and how they matter.

    Fisher of one example: E over labels y ~ p(y|x) of (∂ log p(y|x)/∂W)² (Matena & Raffel 2022). exact: the sum over
    all labels; sampled: one label drawn from p; empirical: the gold label, which is not the Fisher but cheap. The
    gradient of a linear layer for one example is GᵀX over its tokens; squares are taken per example, never of a batch.
    `labels` are the head's outputs in order. When a device's memory runs out, all is measured again in batches half as
    large. Raises RuntimeFault for an adapter without head, torch.OutOfMemoryError where one example is too much.
    """
    size = BATCH
    while True:
        try:
            return _sums(runtime, adapter, examples, labels, fisher, gram, estimator, seed, progress, size)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _sums(
    runtime: Runtime,
    adapter: str,
    examples: Sequence[Example],
    labels: Sequence[str],
    fisher: bool,
    gram: str,
    estimator: Estimator,
    seed: int,
    progress: Progress,
    size: int,
) -> Measured:
    """All examples in batches of `size`."""
    model, forward = runtime.differentiable(adapter)
    draw = torch.Generator().manual_seed(seed)
    measured = Measured()
    with ExitStack() as hooks, torch.enable_grad(), _unfrozen(model):
        layers = [hooks.enter_context(layer) for layer in _layers(model, measured, fisher, gram)]
        for start in range(0, len(examples), size):
            part = examples[start : start + size]
            progress(start, len(examples), "Measuring")
            pairs = second_texts([row.text_pair for row in part])
            batch = encode(runtime.tokenizer, [row.text for row in part], pairs, runtime.max_length)
            batch = {name: value.to(runtime.device) for name, value in batch.items()}
            mask = batch["attention_mask"].bool()
            for layer in layers:
                layer.mask = mask
            scores = torch.log_softmax(forward(**batch).logits.float(), dim=1)
            measured.tokens += int(mask.sum())
            measured.examples += len(part)
            for targets, weights in _targets(scores.detach(), part, labels, estimator, draw) if fisher else ():
                for layer in layers:
                    layer.weights = weights
                scores.gather(1, targets[:, None]).sum().backward(retain_graph=True)
                model.zero_grad(set_to_none=True)
            for layer in layers:
                layer.forget()
    return measured


def _targets(
    scores: torch.Tensor, part: Sequence[Example], labels: Sequence[str], estimator: Estimator, draw: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(label of each example, weight of its squared gradient) for every backward pass."""
    ones = torch.ones(len(scores), device=scores.device)
    if estimator == "exact":
        for number in range(scores.shape[1]):
            yield torch.full((len(scores),), number, device=scores.device), scores[:, number].exp()
    elif estimator == "sampled":
        yield torch.multinomial(scores.exp().cpu(), 1, generator=draw)[:, 0].to(scores.device), ones
    else:
        yield torch.tensor([labels.index(row.label) for row in part], device=scores.device), ones


class LinearHooks:
    """Hooks on one adapted layer: its input on the way in, its gradient on the way back."""

    def __init__(self, name: str, module: Any, measured: Measured, fisher: bool, gram: str) -> None:
        self._name, self._module, self._measured, self._fisher, self._gram = name, module, measured, fisher, gram
        self.mask: torch.Tensor = torch.zeros(0)
        self.weights: torch.Tensor = torch.zeros(0)
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
        values = inputs[0].detach()
        self._input = values
        if self._gram != "none":
            seen = values[self.mask].double() if values.dim() == 3 else values.double()
            moment = seen.square().sum(0) if self._gram == "diagonal" else seen.T @ seen
            self._add(self._measured.gram, self._name, moment)
        if self._fisher and output.requires_grad:
            output.register_hook(self._backward)

    def _backward(self, gradient: torch.Tensor) -> None:
        assert self._input is not None
        one = "bsm,bsn->bmn" if gradient.dim() == 3 else "bm,bn->bmn"
        each = torch.einsum(one, gradient, self._input)
        self._add(self._measured.fisher, self._name, torch.einsum("bmn,b->mn", each.square(), self.weights))
        if self._has_bias:
            shift = gradient.sum(1) if gradient.dim() == 3 else gradient
            self._add(
                self._measured.fisher, f"{self._name}.bias", torch.einsum("bm,b->m", shift.square(), self.weights)
            )

    @property
    def _has_bias(self) -> bool:
        return any(part.bias is not None for part in getattr(self._module, "lora_B", {}).values())

    @staticmethod
    def _add(sums: dict[str, torch.Tensor], name: str, value: torch.Tensor) -> None:
        sums[name] = sums[name] + value if name in sums else value


class VectorHooks(LinearHooks):
    """The same for an IA3 vector: y = l ⊙ z, so ∂/∂l = Σ over tokens of g ⊙ z, with z the output or the input."""

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
        each = product.sum(1) if product.dim() == 3 else product
        self._add(self._measured.fisher, self._name, torch.einsum("bm,b->m", each.square(), self.weights))


def _layers(model: Any, measured: Measured, fisher: bool, gram: str) -> list[LinearHooks]:
    """Every adapted linear layer under the name merges give it; embeddings and convolutions are left out."""
    found: list[LinearHooks] = []
    for name, module in model.named_modules():
        site = name.removeprefix(PREFIX)
        if getattr(module, "ia3_l", None):
            found.append(VectorHooks(site, module, measured, fisher, gram))
        elif getattr(module, "lora_A", None) and isinstance(module.get_base_layer(), torch.nn.Linear):
            found.append(LinearHooks(site, module, measured, fisher, gram))
    return found


@contextmanager
def _unfrozen(model: Any) -> Iterator[None]:
    """Gradients flow while inside, even where nothing is trained."""
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name or "ia3_" in name)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])
