"""The diagonal Fisher information of a network's linear layers, per example and averaged over each filter.

For a linear layer the gradient of one example is Σ_t δ_t a_tᵀ over its tokens, so the mean square over one output row
is δᵀ(AAᵀ)δ / inputs: one batched backward pass gives it for every example, without a gradient per example being stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from adapters.embeddings.declaration import Array

LogP = Callable[[], torch.Tensor]
"""Runs the network on a batch and gives log-probabilities (examples, classes), with a graph to go back through."""


@contextmanager
def watched(layers: list[tuple[str, torch.nn.Module]]) -> Iterator[dict[str, list[Any]]]:
    """While open, each layer's input and the gradient of its output are kept by its name."""
    seen: dict[str, list[Any]] = {}
    hooks = []
    for name, layer in layers:

        def keep(_module: Any, inputs: Any, output: torch.Tensor, name: str = name) -> None:
            seen[name] = [inputs[0].detach(), None]
            if not output.requires_grad:  # a frozen network: the graph begins here
                output.requires_grad_(True)
            output.register_hook(lambda gradient, name=name: seen[name].__setitem__(1, gradient.detach()))

        hooks.append(layer.register_forward_hook(keep))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def linear_layers(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The weight layers inside the model's repeated blocks, in order; embeddings, poolers and heads are left out."""
    found: list[tuple[str, torch.nn.Module]] = []
    for name, module in model.named_modules():
        inside = any(part.isdecimal() for part in name.split("."))
        if isinstance(module, torch.nn.Linear) and inside and "lora_" not in name:
            found.append((name, module))
    return found


def filter_fisher(
    forward: LogP,
    layers: list[tuple[str, torch.nn.Module]],
    weights: Callable[[torch.Tensor], Iterator[torch.Tensor]],
) -> Array:
    """Σ over the given weightings of squared per-example gradients, averaged over filters: (examples, filters) float64.

    `weights(log_p)` yields matrices (examples, classes): for each, the backward pass is of (weights · log p). To get
    Σ_y p_y (∂ log p_y)², yield √p_y in column y, one class after the other.
    """
    total: torch.Tensor | None = None
    with torch.enable_grad(), watched(layers) as seen:
        log_p = forward()
        for weight in weights(log_p.detach()):
            (log_p * weight).sum().backward(retain_graph=True)
            squares = torch.cat([_row_squares(*seen[name]) for name, _ in layers if seen[name][1] is not None], dim=1)
            total = squares if total is None else total + squares
    assert total is not None
    return np.asarray(total.cpu().numpy(), dtype=np.float64)


def _row_squares(inputs: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Mean over a row's weights of the squared gradient of each example: (examples, outputs)."""
    a, d = inputs.double(), gradient.double()
    gram = a @ a.transpose(1, 2)
    return ((gram @ d) * d).sum(1).clamp(min=0) / a.shape[2]
