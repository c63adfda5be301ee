"""Is it the same question? The directions along which a frozen encoder's space must be cut to answer it.

A logistic head W (classes × d) is fitted on the frozen vectors of labelled examples. WᵀW says which directions decide,
whatever the labels are called and in whatever order they stand; two tasks ask alike when ⟨WᵀW, VᵀV⟩ is large.
"""

from __future__ import annotations

import numpy as np

from adapters.embeddings.declaration import Array, EmbeddingFault, Material, Method, Placed, Reference, cosine
from adapters.embeddings.texts import MOST, choose, text_of
from adapters.embeddings.updates import Update, sketch
from adapters.runtime.linear import fit_linear

FEWEST = 8
STRENGTH = 10.0


def embed(material: Material) -> Placed:
    """The unit sketch of WᵀW (2048 numbers) and W itself, classes centred (classes, d).

    Raises EmbeddingFault for fewer than eight examples or a single label.
    """
    if material.encode is None or len(material.examples) < FEWEST:
        raise EmbeddingFault(f"There are {len(material.examples)} labelled examples; give at least {FEWEST}.")
    chosen = choose(material.examples, MOST, material.seed)
    head = fit_head(material.encode([text_of(row) for row in chosen]), [row.label for row in chosen])
    labels = sorted({row.label for row in chosen})
    return Placed(sketch(operator(head)), head, {"labels": labels, "examples": len(chosen)})


def fit_head(vectors: Array, labels: list[str]) -> Array:
    """Weights (classes, d) of a logistic head on unit vectors, their mean over classes taken off.

    Raises EmbeddingFault for a single label.
    """
    names = sorted(set(labels))
    if len(names) < 2:
        raise EmbeddingFault("All examples carry one label, so there is no question to embed. Add another label.")
    matrix, _bias = fit_linear(vectors, [names.index(label) for label in labels], len(names), strength=STRENGTH)
    return np.asarray(matrix - matrix.mean(axis=0), dtype=np.float32)


def operator(head: Array) -> Update:
    """WᵀW as the factored matrix that `updates` can sketch and compare."""
    return Update({"question": (np.ascontiguousarray(head.T), head)})


def exact(one: Array, other: Array) -> float:
    """cos(WᵀW, VᵀV) = ‖W Vᵀ‖² / (‖W Wᵀ‖ ‖V Vᵀ‖), from the heads themselves."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    lengths = float(np.linalg.norm(a @ a.T) * np.linalg.norm(b @ b.T))
    return float(np.linalg.norm(a @ b.T) ** 2 / lengths) if lengths else 0.0


METHOD = Method(
    name="question",
    title="Deciding directions",
    question="Similar question",
    summary="The labels cut a frozen encoder's space along the same directions, also in other domains.",
    reference=Reference(
        "Alain & Bengio", "Understanding intermediate layers using linear classifier probes", 2016,
        "https://arxiv.org/abs/1610.01644",
    ),
    needs=("texts", "labels"),
    probe="encoder",
    version=1,
    order=25,
    embed=embed,
    similarity=cosine,
    error="A sketched cosine has a standard deviation of about 0.022; lists are ranked by the exact one.",
)  # fmt: skip
