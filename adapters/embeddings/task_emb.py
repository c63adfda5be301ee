"""TaskEmb: the Fisher of the tuned model itself, at the labels the task gives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from adapters.embeddings import fisher
from adapters.embeddings.declaration import EmbeddingFault, Material, Method, Placed, Reference
from adapters.embeddings.task2vec import BATCH, FEWEST, MOST, TOKENS, pooled, similarity
from adapters.embeddings.texts import choose, text_of
from adapters.runtime.batching import encode


def embed(material: Material) -> Placed:
    """Mean over examples of (∂ log p(true label)/∂w)², averaged over filters, of the adapted model (Vu et al. 2020).

    Squares are taken per example, not per batch as in the reference code. The labels must be those of the adapter's
    head. Raises EmbeddingFault without an attached adapter, its labels, or enough examples.
    """
    probe, name = material.probe, material.tuned
    labels = probe.labels(name) if probe is not None and name is not None else None
    if probe is None or name is None or not labels:
        raise EmbeddingFault("TaskEmb needs the adapter attached to its base, with its head and labels.")
    rows = [example for example in material.examples if example.label in labels]
    if len(rows) < FEWEST:
        raise EmbeddingFault(f"There are {len(rows)} examples with the adapter's labels; give at least {FEWEST}.")
    rows = choose(rows, MOST, material.seed)
    model, call = probe.differentiable(name)
    layers = fisher.linear_layers(model)
    total: list[np.ndarray] = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        batch = encode(probe.tokenizer, [text_of(row) for row in part], None, min(TOKENS, probe.max_length))
        batch = {key: tensor.to(probe.device) for key, tensor in batch.items()}
        targets = torch.tensor([labels.index(row.label) for row in part], device=probe.device)

        def forward(batch: dict[str, torch.Tensor] = batch) -> torch.Tensor:
            return torch.log_softmax(call(**batch).logits.float(), dim=1)

        def true_label(log_p: torch.Tensor, targets: torch.Tensor = targets) -> Iterator[torch.Tensor]:
            yield torch.nn.functional.one_hot(targets, log_p.shape[1]).float()

        total.append(fisher.filter_fisher(forward, layers, true_label))
    values = pooled(np.concatenate(total).mean(axis=0))
    mean = float(values.mean())
    if not np.isfinite(mean) or mean <= 0:
        raise EmbeddingFault("The adapter's gradients vanish on these examples, so it cannot be placed.")
    return Placed(np.asarray(values / mean, dtype=np.float32), details={"norm": mean, "examples": len(rows)})


METHOD = Method(
    name="task_emb",
    title="TaskEmb",
    question="Similar question, tuned",
    summary="The tuned model's own gradients at the true labels. A backward pass for each batch; for comparison.",
    reference=Reference(
        "Vu et al.", "Exploring and Predicting Transferability across NLP Tasks", 2020,
        "https://arxiv.org/abs/2005.00770",
    ),
    needs=("texts", "labels", "tuned"),
    probe="base",
    version=1,
    order=80,
    embed=embed,
    similarity=similarity,
)  # fmt: skip
