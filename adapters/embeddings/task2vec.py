"""Is it the same question? Task2Vec: how sensitive a frozen probe's weights are to a task's labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from adapters.embeddings import fisher
from adapters.embeddings.declaration import Array, EmbeddingFault, Material, Method, Placed, Reference
from adapters.embeddings.texts import choose, text_of
from adapters.runtime.batching import encode
from adapters.runtime.examples import Example
from adapters.runtime.linear import fit_linear
from adapters.runtime.runtime import Runtime

FEWEST, MOST = 8, 64
EXACT_CLASSES, DRAWS = 4, 8
STRENGTH = 10.0
BATCH, TOKENS = 16, 48
ALPHA = 0.15
"""Weight of the distance to the trivial task in the asymmetric distance (Achille et al. 2019, for a ResNet-34)."""
TINY = 1e-12
WIDEST = 8192


def embed(material: Material) -> Placed:
    """The diagonal Fisher of the probe, one number a filter (Achille et al. 2019), scaled to mean one.

    The probe is frozen, a logistic head is fitted on its features, and F = E_x Σ_y p(y|x) (∂ log p(y|x)/∂w)² is taken
    per example: summed exactly over up to four classes, else over eight draws of y from the model itself. Raises
    EmbeddingFault for too few examples or a single label.
    """
    chosen, labels = asked(material)
    assert material.probe is not None
    values = _fisher(material.probe, chosen, labels, material)
    norm = float(values.mean())
    values = pooled(values)
    mean = float(values.mean())
    if not np.isfinite(mean) or mean <= 0:
        raise EmbeddingFault("The probe's gradients vanish on these examples, so they cannot be placed.")
    return Placed(
        np.asarray(values / mean, dtype=np.float32),
        details={"norm": norm, "examples": len(chosen), "classes": len(labels),
                 "sum": "exact" if len(labels) <= EXACT_CLASSES else f"{DRAWS} draws"},
    )  # fmt: skip


def asked(material: Material) -> tuple[list[Example], list[str]]:
    """The examples that are looked at, and their labels. Raises EmbeddingFault for too few, or a single label."""
    if material.probe is None or len(material.examples) < FEWEST:
        raise EmbeddingFault(f"There are {len(material.examples)} labelled examples; give at least {FEWEST}.")
    chosen = choose(material.examples, MOST, material.seed)
    labels = sorted({example.label for example in chosen})
    if len(labels) < 2:
        raise EmbeddingFault("All examples carry one label, so there is no question to embed. Add another label.")
    return chosen, labels


def symmetric(one: Array, other: Array) -> float:
    """d_sym = 1 − cos(a/(a+b), b/(a+b)), each coordinate normalised by the pair's sum. 0 is the same task.

    Raises EmbeddingFault for vectors of different probes.
    """
    if one.shape != other.shape:
        raise EmbeddingFault(
            f"These vectors have {one.size} and {other.size} numbers: they come from different probes."
        )
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    total = a + b + TINY
    u, v = a / total, b / total
    return float(1.0 - (u @ v) / max(float(np.linalg.norm(u) * np.linalg.norm(v)), TINY))


def asymmetric(source: Array, target: Array, trivial: Array, alpha: float = ALPHA) -> float:
    """d_asym(source → target) = d_sym(source, target) − α·d_sym(source, trivial): sources far from trivial are better.

    The vectors must carry their norms (details["norm"] × vector).
    """
    return symmetric(source, target) - alpha * symmetric(source, trivial)


def similarity(one: Array, other: Array) -> float:
    """1 − d_sym, so that larger is nearer."""
    return 1.0 - symmetric(one, other)


def _fisher(probe: Runtime, examples: Sequence[Example], labels: list[str], material: Material) -> Array:
    texts = [text_of(example) for example in examples]
    features = probe.features(texts, normalise=True)
    targets = [labels.index(example.label) for example in examples]
    matrix, bias = fit_linear(features, targets, len(labels), strength=STRENGTH)
    head = torch.from_numpy(matrix).float(), torch.from_numpy(bias).float()
    model, _ = probe.model()
    body = model.base_model
    layers = fisher.linear_layers(body)
    chance = torch.Generator().manual_seed(material.seed)
    parts = []
    for start in range(0, len(texts), BATCH):
        material.progress(start, len(texts), "Reading the probe's gradients")
        batch = encode(probe.tokenizer, texts[start : start + BATCH], None, min(TOKENS, probe.max_length))
        batch = {name: tensor.to(probe.device) for name, tensor in batch.items()}

        def forward(batch: dict[str, torch.Tensor] = batch) -> torch.Tensor:
            hidden = body(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(2).to(hidden.dtype)
            pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
            return torch.log_softmax(pooled @ head[0].to(hidden.device).T + head[1].to(hidden.device), dim=1)

        parts.append(fisher.filter_fisher(forward, layers, lambda log_p: _weightings(log_p, chance)))
    model.zero_grad(set_to_none=True)
    return np.asarray(np.concatenate(parts).mean(axis=0), dtype=np.float64)


def pooled(values: Array) -> Array:
    """Neighbouring filters averaged in equal groups, so that at most 8192 numbers are kept."""
    size = -(-len(values) // WIDEST)
    starts = np.arange(0, len(values), size)
    return np.asarray(np.add.reduceat(values, starts) / np.diff([*starts, len(values)]), dtype=np.float64)


def _weightings(log_p: torch.Tensor, chance: torch.Generator) -> Iterator[torch.Tensor]:
    p = log_p.exp()
    if p.shape[1] <= EXACT_CLASSES:
        for column in range(p.shape[1]):
            weight = torch.zeros_like(p)
            weight[:, column] = p[:, column].sqrt()
            yield weight
        return
    drawn = torch.multinomial(p.cpu(), DRAWS, replacement=True, generator=chance).to(p.device)
    for draw in range(DRAWS):
        weight = torch.zeros_like(p)
        weight.scatter_(1, drawn[:, draw : draw + 1], DRAWS**-0.5)
        yield weight


METHOD = Method(
    name="task2vec",
    title="Task2Vec",
    question="Similar question",
    summary="The labels ask the probe for the same distinctions, whatever the texts say. Noisy below 64 examples.",
    reference=Reference(
        "Achille et al.", "Task2Vec: Task Embedding for Meta-Learning", 2019, "https://arxiv.org/abs/1902.03545"
    ),
    needs=("texts", "labels"),
    probe="encoder",
    version=1,
    order=30,
    embed=embed,
    similarity=similarity,
)
