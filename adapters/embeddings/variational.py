"""Task2Vec's second form: how much noise each filter of the probe bears before the task is answered worse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from adapters.embeddings import fisher, task2vec
from adapters.embeddings.declaration import EmbeddingFault, Material, Method, Placed, Reference
from adapters.embeddings.texts import text_of
from adapters.runtime.batching import encode
from adapters.runtime.linear import fit_linear
from adapters.runtime.runtime import Runtime

STEPS, BATCH, RATE = 60, 16, 0.1
BETA = 1e-7
START = -9.0
"""First log-variance of the noise: a deviation of 0.011, a fifth of what the probe's weights have themselves."""


def embed(material: Material) -> Placed:
    """One precision a filter, 1/σ², scaled to mean one (Achille et al. 2019, §2.2).

    σ² minimises E_{ε ~ N(0, Λ)}[loss(w + ε)] + β KL(N(0, Λ) ‖ N(0, λ²I)), Λ one variance a filter and λ² one a layer.
    λ² is put in where it is best, at the layer's mean of σ², which leaves KL = ½ Σ inputs · log(λ²/σ²). Raises
    EmbeddingFault as the Fisher form does.
    """
    chosen, labels = task2vec.asked(material)
    probe = material.probe
    assert probe is not None
    features = probe.features([text_of(example) for example in chosen], normalise=True)
    targets = [labels.index(example.label) for example in chosen]
    matrix, bias = fit_linear(features, targets, len(labels), strength=task2vec.STRENGTH)
    head = torch.from_numpy(matrix).float().to(probe.device), torch.from_numpy(bias).float().to(probe.device)
    layers = fisher.linear_layers(probe.model()[0].base_model)
    with torch.enable_grad():
        variances = _descend(probe, layers, [text_of(example) for example in chosen], targets, head, material)
    values = task2vec.pooled(np.concatenate([torch.exp(-one).cpu().numpy() for one in variances]).astype(np.float64))
    mean = float(values.mean())
    if not np.isfinite(mean) or mean <= 0:
        raise EmbeddingFault("The noise did not settle on these examples, so they cannot be placed.")
    return Placed(
        np.asarray(values / mean, dtype=np.float32),
        details={"norm": mean, "examples": len(chosen), "classes": len(labels), "steps": STEPS},
    )


def _descend(
    probe: Runtime, layers: list[tuple[str, torch.nn.Module]], texts: list[str], targets: list[int],
    head: tuple[torch.Tensor, torch.Tensor], material: Material,
) -> list[torch.Tensor]:  # fmt: skip
    chance = torch.Generator(device=probe.device).manual_seed(material.seed)
    variances = [torch.full((_outputs(layer),), START, device=probe.device, requires_grad=True) for _, layer in layers]
    optimiser = torch.optim.Adam(variances, lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, STEPS)
    body = probe.model()[0].base_model
    rows: list[int] = []
    for step in range(STEPS):
        material.progress(step, STEPS, "Letting the probe bear noise")
        if len(rows) < BATCH:
            rows = torch.randperm(len(texts), generator=torch.Generator().manual_seed(material.seed + step)).tolist()
        part, rows = rows[:BATCH], rows[BATCH:]
        batch = encode(probe.tokenizer, [texts[row] for row in part], None, min(task2vec.TOKENS, probe.max_length))
        batch = {name: tensor.to(probe.device) for name, tensor in batch.items()}
        with _noisy(layers, variances, chance):
            hidden = body(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(2).to(hidden.dtype)
        pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
        wanted = torch.tensor([targets[row] for row in part], device=probe.device)
        loss = torch.nn.functional.cross_entropy(pooled @ head[0].T + head[1], wanted)
        optimiser.zero_grad()
        (loss + BETA * _divergence(layers, variances)).backward()
        optimiser.step()
        schedule.step()
    probe.model()[0].zero_grad(set_to_none=True)
    return [one.detach() for one in variances]


@contextmanager
def _noisy(
    layers: list[tuple[str, torch.nn.Module]], variances: list[torch.Tensor], chance: torch.Generator
) -> Iterator[None]:
    """While open every layer's weights carry fresh noise, one draw for the whole batch."""
    hooks = []
    for (_, layer), logarithm in zip(layers, variances, strict=True):
        weight: Any = layer.weight
        drawn = torch.randn(weight.shape, generator=chance, device=weight.device)

        def add(
            _module: Any, inputs: Any, output: torch.Tensor, drawn: torch.Tensor = drawn, own: torch.Tensor = logarithm
        ) -> torch.Tensor:
            return output + torch.nn.functional.linear(inputs[0], drawn) * torch.exp(0.5 * own)

        hooks.append(layer.register_forward_hook(add))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _divergence(layers: list[tuple[str, torch.nn.Module]], variances: list[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros((), device=variances[0].device)
    for (_, layer), own in zip(layers, variances, strict=True):
        inputs = int(getattr(layer, "in_features", 1))
        total = total + 0.5 * inputs * (torch.logsumexp(own, 0) - np.log(len(own)) - own).sum()
    return total


def _outputs(layer: torch.nn.Module) -> int:
    return int(getattr(layer, "out_features", 0))


METHOD = Method(
    name="task2vec_variational",
    title="Task2Vec, variational",
    question="Similar question",
    summary="How much noise each filter bears before the task suffers: a training run for each task; for comparison.",
    reference=Reference(
        "Achille et al.", "Task2Vec: Task Embedding for Meta-Learning", 2019, "https://arxiv.org/abs/1902.03545"
    ),
    needs=("texts", "labels"),
    probe="encoder",
    version=1,
    order=85,
    embed=embed,
    similarity=task2vec.similarity,
)
