"""Are the texts alike? Vectors of example inputs from a frozen encoder, and their mean."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adapters.embeddings.declaration import Array, EmbeddingFault, Material, Method, Placed, Reference, cosine, unit
from adapters.runtime.examples import Example

FEWEST, MOST = 4, 256
POOLING = "mean of attended tokens, unit length, v1"


def embed(material: Material) -> Placed:
    """Unit vectors of up to 256 inputs, and their normalised mean (Poth et al. 2021; Jang et al. 2023).

    Labels are not needed. Raises EmbeddingFault for too few texts.
    """
    if material.encode is None or len(material.examples) < FEWEST:
        raise EmbeddingFault(
            f"There are {len(material.examples)} example inputs; give at least {FEWEST}, better 64 (256 is worth it)."
        )
    chosen = choose(material.examples, MOST, material.seed)
    texts = [text_of(example) for example in chosen]
    placed = from_rows(material.encode(texts))
    return Placed(placed.vector, placed.rows, {"texts": texts})


def from_rows(rows: Array) -> Placed:
    """The same from vectors that a contributor made at home (n, d). Raises EmbeddingFault for NaN or zero rows."""
    units = unit(rows)
    return Placed(centroid(units), units)


def centroid(rows: Array) -> Array:
    """The mean of unit rows, scaled to length one (d,)."""
    mean = np.asarray(rows, dtype=np.float64).mean(axis=0)
    # Rows that cancel exactly have no mean direction; any of them stands for the set then.
    return unit(mean if np.linalg.norm(mean) > 1e-9 else rows[0])


def choose(examples: Sequence[Example], most: int, seed: int = 0) -> list[Example]:
    """At most `most` examples, as evenly over the labels as they allow, the same ones for the same seed."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in dict.fromkeys(examples):
        by_label[example.label].append(example)
    chance = random.Random(seed)  # noqa: S311 - a choice, not a secret
    for label in sorted(by_label):
        chance.shuffle(by_label[label])
    chosen: list[Example] = []
    while len(chosen) < most and any(by_label.values()):
        for label in sorted(by_label):
            if by_label[label] and len(chosen) < most:
                chosen.append(by_label[label].pop())
    return chosen


def text_of(example: Example) -> str:
    """The words of an input: the text, with the second text of a pair on the next line."""
    return example.text if example.text_pair is None else f"{example.text}\n{example.text_pair}"


def encoder_identity(folder: Path) -> str:
    """What text vectors hang on: sha256 over the encoder's weights, its tokenizer and the way of pooling."""
    digest = hashlib.sha256(POOLING.encode())
    files = [path for name in ("*.safetensors", "tokenizer.json", "vocab.txt") for path in sorted(folder.glob(name))]
    if not any(path.suffix == ".safetensors" for path in files):
        raise EmbeddingFault(f"{folder.name} holds no .safetensors weights, so it is no encoder.")
    for path in files:
        with path.open("rb") as file:
            digest.update(json.dumps([path.name, hashlib.file_digest(file, "sha256").hexdigest()]).encode())
    return digest.hexdigest()


METHOD = Method(
    name="texts",
    title="Example texts",
    question="Similar texts",
    summary="The same domain: the inputs look alike to a frozen sentence encoder.",
    reference=Reference(
        "Poth et al.", "What to Pre-Train on? Efficient Intermediate Task Selection", 2021,
        "https://arxiv.org/abs/2104.08247",
    ),
    needs=("texts",),
    probe="encoder",
    version=1,
    order=10,
    embed=embed,
    similarity=cosine,
)  # fmt: skip
