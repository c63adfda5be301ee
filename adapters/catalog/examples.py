"""Which example inputs stand for a repo: its own file, vectors made elsewhere, or the train rows of its tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adapters.catalog import local
from adapters.catalog.tasks import read_task
from adapters.embeddings.declaration import EmbeddingFault
from adapters.formats import strict_json
from adapters.formats.errors import FormatError
from adapters.formats.values import Array, TensorFile
from adapters.models import Lineage, Relation
from adapters.runtime.examples import Example
from adapters.tasks.reading import MAX_ROW_BYTES
from hub.repos.models import Commit, Repo

TEXTS, VECTORS = "examples.jsonl", "example_vectors.safetensors"
MOST_ROWS, MOST_LETTERS = 1000, 20_000
ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class Given:
    """What was found: examples (labelled or not), or ready vectors with their encoder; and where it came from."""

    examples: Sequence[Example] = ()
    labelled: bool = False
    vectors: Array | None = None
    encoder: str = ""
    origin: str = ""
    source: Repo | None = None
    source_sha: str = ""


def find(repo: Repo, commit: Commit, scratch: Path) -> Given:
    """The examples of an adapter or task. Raises EmbeddingFault for a file that cannot be used."""
    if repo.is_task:
        rows = task_rows(repo, commit)
        return Given(rows, True, origin="task")
    files = local.materialise(repo, commit, scratch / "own", lambda path: path in (TEXTS, VECTORS))
    if VECTORS in files:
        vectors, encoder = read_vectors(files[VECTORS])
        return Given(vectors=vectors, encoder=encoder, origin="vectors")
    if TEXTS in files:
        rows = read_texts(files[TEXTS])
        return Given(rows, all(row.label for row in rows), origin="examples")
    taught = Lineage.objects.filter(child=repo, child_sha=commit.sha, relation=Relation.TAUGHT_ON)
    for line in taught.select_related("parent__owner").order_by("pk"):
        head = Commit.objects.filter(repo=line.parent, sha=line.parent.head).first()
        rows = task_rows(line.parent, head) if head else []
        if rows:
            return Given(rows, True, origin="task", source=line.parent, source_sha=line.parent.head)
    return Given()


def task_rows(repo: Repo, commit: Commit) -> list[Example]:
    """The rows of a task's first split with any (train, else validation, else test)."""
    rows = read_task(repo, commit)
    first = next((rows.examples(name) for name in ORDER if rows.split(name)), [])
    return [replace(row, text=row.text[:MOST_LETTERS]) for row in first]


def read_texts(path: Path) -> list[Example]:
    """Rows {"text": …, "label": … (optional)} of an examples.jsonl. Raises EmbeddingFault with the row's number."""
    rows: list[Example] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip() or len(rows) >= MOST_ROWS:
            continue
        try:
            row = strict_json.loads(line, what=f"Row {number} of {TEXTS}", max_bytes=MAX_ROW_BYTES, max_depth=16)
        except FormatError as error:
            raise EmbeddingFault(error.message) from error
        if not isinstance(row, Mapping) or not isinstance(row.get("text"), str) or not row["text"].strip():
            raise EmbeddingFault(f'Row {number} of {TEXTS} is not {{"text": "…"}}. Correct it and commit again.')
        label = row.get("label")
        rows.append(Example(row["text"][:MOST_LETTERS], "" if label is None else str(label)))
    return rows


def read_vectors(path: Path) -> tuple[Array, str]:
    """The tensor `vectors` (n, d) and the encoder its metadata names. Raises EmbeddingFault."""
    try:
        with TensorFile(path) as file:
            encoder = str((file.header.metadata or {}).get("encoder", ""))
            if "vectors" not in file.header.tensors:
                raise EmbeddingFault(f"{VECTORS} has no tensor named vectors. Save it as vectors, of shape (n, d).")
            vectors = file.read("vectors")
    except FormatError as error:
        raise EmbeddingFault(f"{VECTORS}: {error.message}") from error
    if vectors.ndim != 2 or not 0 < len(vectors) <= 4096:
        raise EmbeddingFault(f"{VECTORS} holds vectors of shape {vectors.shape}; give between 1 and 4096 rows (n, d).")
    return np.asarray(vectors, dtype=np.float32), encoder
