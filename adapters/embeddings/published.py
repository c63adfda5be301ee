"""The published form of tuned-parameter embeddings: A and B, flattened. For comparison only."""

from __future__ import annotations

from adapters.embeddings import updates
from adapters.embeddings.declaration import EmbeddingFault, Material, Method, Placed, Reference, cosine, unit


def embed(material: Material) -> Placed:
    """All factors concatenated and scaled to length one (Zhou et al. 2022). Raises EmbeddingFault when zero."""
    if material.update is None:
        raise EmbeddingFault("There are no adapter weights to embed.")
    return Placed(unit(updates.published_form(material.update)))


METHOD = Method(
    name="published",
    title="Tuned parameters (A, B as published)",
    question="Same initialisation",
    summary="Compares only adapters that started from the same random A; between two labs or seeds it says nothing.",
    reference=Reference(
        "Zhou, Xu & McAuley", "Efficiently Tuned Parameters are Task Embeddings", 2022,
        "https://arxiv.org/abs/2210.11705",
    ),
    needs=("weights",),
    probe="base",
    version=1,
    order=90,
    embed=embed,
    similarity=cosine,
)  # fmt: skip
