"""Diagonal Fisher information of ΔW and Grams of layer inputs, from per-example gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from merges.statistics.layers import Measured, hooks_on
from merges.statistics.reading import Likelihood, Reader, reader_of

Estimator = Literal["exact", "sampled", "empirical"]
Progress = Callable[[int, int, str], None]


def measure(
    runtime: Runtime,
    adapter: str,
    examples: Sequence[Example],
    labels: Sequence[str],
    *,
    fisher: bool = True,
    gram: Literal["full", "diagonal", "none"] = "full",
    estimator: Estimator = "exact",
    likelihood: Likelihood = "label",
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Measured:
    """Run the adapted model over examples and gather what its layers see and how they matter.

    Fisher of one example: E over outcomes y ~ p(y|x) of (∂ log p(y|x)/∂W)² (Matena & Raffel 2022), squares taken per
    example, never of a batch. exact: the sum over all outcomes; sampled: one drawn from p; empirical: the one that is
    there, which is not the Fisher but cheap. Outcomes are `labels` (the head's in order, or a causal model's as
    continuations) or, with `likelihood` next_token, a causal model's next tokens, which are too many to be exact.
    When a device's memory runs out, all is measured again in batches half as large. Raises RuntimeFault for an adapter
    without head, a base without such outcomes; torch.OutOfMemoryError where one example is too much.
    """
    if likelihood == "next_token" and fisher and estimator == "exact":
        raise RuntimeFault("There are too many tokens to sum over all of them. Choose sampled or empirical.")
    size = 0
    while True:
        draw = torch.Generator().manual_seed(seed)
        reader = reader_of(runtime, adapter, labels, likelihood, draw if estimator == "sampled" else None)
        size = size or reader.most
        try:
            return _sums(runtime, adapter, examples, labels, fisher, gram, estimator, draw, progress, reader, size)
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
    draw: torch.Generator,
    progress: Progress,
    reader: Reader,
    size: int,
) -> Measured:
    """All examples in batches of `size`."""
    model, measured = runtime.model(adapter)[0], Measured()
    with ExitStack() as hooks, torch.enable_grad(), _unfrozen(model):
        layers = [hooks.enter_context(layer) for layer in hooks_on(model, measured, fisher, gram)]
        for start in range(0, len(examples), size):
            part = examples[start : start + size]
            progress(start, len(examples), "Measuring")
            scores, tokens = reader.read(part, layers)
            measured.tokens += tokens
            measured.examples += len(part)
            for targets, weights in _targets(scores.detach(), part, labels, estimator, draw) if fisher else ():
                for layer in layers:
                    layer.weights = weights
                scores.gather(1, targets[:, None]).sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
                for layer in layers:
                    layer.settle()
                model.zero_grad(set_to_none=True)
            for layer in layers:
                layer.forget()
    return measured


def _targets(
    scores: torch.Tensor, part: Sequence[Example], labels: Sequence[str], estimator: Estimator, draw: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(outcome of each example, weight of its squared gradient) for every backward pass; a single outcome is chosen."""
    ones = torch.ones(len(scores), device=scores.device)
    if scores.shape[1] == 1:
        yield torch.zeros(len(scores), dtype=torch.long, device=scores.device), ones
    elif estimator == "exact":
        for number in range(scores.shape[1]):
            yield torch.full((len(scores),), number, device=scores.device), scores[:, number].exp()
    elif estimator == "sampled":
        yield torch.multinomial(scores.exp().cpu(), 1, generator=draw)[:, 0].to(scores.device), ones
    else:
        yield torch.tensor([labels.index(row.label) for row in part], device=scores.device), ones


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
