"""Do they behave alike? The tuned parameters themselves, as the sketch of the effective update ΔW."""

from __future__ import annotations

from adapters.embeddings import updates
from adapters.embeddings.declaration import EmbeddingFault, Material, Method, Placed, Reference, cosine

SHOWN = 12


def embed(material: Material) -> Placed:
    """The unit sketch of ΔW (2048 numbers). Needs nothing but the adapter. Raises EmbeddingFault for a zero update."""
    if material.update is None:
        raise EmbeddingFault("There are no adapter weights to embed.")
    try:
        vector = updates.sketch(material.update)
    except ValueError as error:
        raise EmbeddingFault(f"{error} Train it on before publishing.") from error
    norms = {name: updates.Update({name: pair}).norm for name, pair in material.update.places.items()}
    largest = sorted(norms.items(), key=lambda item: -item[1])[:SHOWN]
    return Placed(
        vector,
        details={"norm": material.update.norm, "places": len(norms), "largest": [[n, round(v, 6)] for n, v in largest]},
    )


METHOD = Method(
    name="tuned",
    title="Tuned parameters (ΔW)",
    question="Similar behaviour",
    summary="The updates point the same way. Works without any example; compares across seeds, ranks and contributors.",
    reference=Reference(
        "Zhou, Xu & McAuley", "Efficiently Tuned Parameters are Task Embeddings", 2022,
        "https://arxiv.org/abs/2210.11705",
    ),
    needs=("weights",),
    probe="base",
    version=1,
    order=20,
    embed=embed,
    similarity=cosine,
    error="A sketched cosine has a standard deviation of about 0.022; good cosines are only 0.05 to 0.25.",
)  # fmt: skip
