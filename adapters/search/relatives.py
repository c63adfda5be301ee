"""Who is near whom, in lists that people understand, each with its evidence and never beyond the asker's rights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Cast
from pgvector import HalfVector
from pgvector.django import CosineDistance, HalfVectorField

from adapters.embedding_models import VectorDims
from adapters.models import Embedding, Kinship
from adapters.search.filters import Filters
from adapters.search.listing import matching
from hub.accounts.actor import Actor
from hub.repos.models import Repo

Array = npt.NDArray[Any]
COPY = 0.9
"""From this cosine of updates on, two adapters are near-copies."""
CANDIDATES = 50
EVIDENCE = 3


@dataclass(frozen=True)
class List:
    """One kind of nearness: its name in addresses, its heading, what it says, and the vectors it is read from."""

    name: str
    title: str
    says: str
    method: str


LISTS = (
    List("texts", "Similar texts", "The inputs look alike to a frozen sentence encoder: the same domain.", "texts"),
    List("question", "Similar question", "The labels cut the encoder's space along the same directions.", "question"),
    List("behaviour", "Similar behaviour", "The weight updates ΔW point the same way. Good values are 0.05 to 0.25.",
         "tuned"),
    List("copies", "Near-copies", "The weight updates ΔW are all but the same.", "tuned"),
)  # fmt: skip
BY_NAME = {kind.name: kind for kind in LISTS}


@dataclass(frozen=True)
class Pair:
    """One piece of evidence: something of the one, something of the other (empty: the same place), how near."""

    one: str
    other: str
    cosine: float


@dataclass(frozen=True)
class Relative:
    """A repo near the one asked about. `exact` is False where only sketches were compared (± 0.02)."""

    repo: Repo
    score: float
    exact: bool
    evidence: tuple[Pair, ...] = field(default=())


def relatives(actor: Actor, repo: Repo, kind: str, filters: Filters | None = None, most: int = 8) -> list[Relative]:
    """The repos nearest to a repo in one of LISTS; empty while it is not placed. Raises KeyError for another list."""
    wanted = BY_NAME[kind]
    own = Embedding.objects.visible_to(actor).filter(repo=repo, method=wanted.method).select_related("repo").first()
    if own is None:
        return []
    rows = nearest_rows(actor, own, own.vector, filters, exclude=repo, most=max(CANDIDATES, most))
    if wanted.method == "tuned":
        return _by_update(repo, rows, most, copies=kind == "copies")
    compare = _by_texts if wanted.method == "texts" else _by_question
    return sorted((compare(own, row) for row in rows), key=lambda found: -found.score)[:most]


def near_examples(
    actor: Actor, vectors: Array, probe: str, version: int, filters: Filters | None = None, most: int = 8
) -> list[Relative]:
    """The repos whose texts are nearest to these unit vectors (n, d), with the nearest pairs of examples."""
    mean = vectors.mean(axis=0)
    asked = Embedding(method="texts", version=version, probe=probe, vector=mean, count=len(vectors))
    asked.rows = np.asarray(vectors, "<f2").tobytes()
    rows = nearest_rows(actor, asked, mean, filters, exclude=None, most=max(CANDIDATES, most))
    return sorted((_by_texts(asked, row) for row in rows), key=lambda found: -found.score)[:most]


def nearest_question(
    actor: Actor, asked: Embedding, sketch: Any, filters: Filters | None = None, most: int = 8
) -> list[Relative]:
    """The repos whose question is nearest to one that is not stored; `asked` carries its head in `rows`."""
    rows = nearest_rows(actor, asked, sketch, filters, exclude=None, most=max(CANDIDATES, most))
    return sorted((_by_question(asked, row) for row in rows), key=lambda found: -found.score)[:most]


def nearest_rows(
    actor: Actor, like: Embedding, vector: Any, filters: Filters | None, *, exclude: Repo | None, most: int
) -> list[Embedding]:
    """Rows of the same method, version and probe that the actor may see, nearest first; HNSW where it pays."""
    width = len(vector)
    found = Embedding.objects.visible_to(actor).filter(method=like.method, version=like.version, probe=like.probe)
    if exclude is not None:
        found = found.exclude(repo=exclude)
    if filters is not None and filters.conditions():
        found = found.filter(repo__in=matching(actor, filters).values("pk"))
    sized = Cast(F("vector"), HalfVectorField(dimensions=width))
    ordered = (
        found.alias(width=VectorDims("vector"))
        .filter(width=width)
        .annotate(distance=CosineDistance(sized, HalfVector(list(map(float, vector)))))
        .select_related("repo__owner")
        .order_by("distance")
    )
    with transaction.atomic(), connection.cursor() as cursor:
        # A filter after the index would leave too few rows; the scan goes on until there are enough.
        cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL hnsw.ef_search = 100")
        return list(ordered[:most])


def matrix(row: Embedding) -> Array | None:
    """The single rows of an embedding (count, d) float32: vectors of examples, or a head's weights."""
    if not row.rows or not row.count:
        return None
    return np.frombuffer(bytes(row.rows), "<f2").reshape(row.count, -1).astype(np.float32)


def _by_texts(own: Embedding, other: Embedding) -> Relative:
    mine, theirs = matrix(own), matrix(other)
    score = 1.0 - float(getattr(other, "distance", 1.0))
    if mine is None or theirs is None or mine.shape[1] != theirs.shape[1]:
        return Relative(other.repo, score, True)
    cosines = mine @ theirs.T
    pairs = _best_pairs(cosines, own.texts, other.texts)
    return Relative(other.repo, score, True, pairs)


def _by_question(own: Embedding, other: Embedding) -> Relative:
    mine, theirs = matrix(own), matrix(other)
    if mine is None or theirs is None or mine.shape[1] != theirs.shape[1]:
        return Relative(other.repo, 1.0 - float(getattr(other, "distance", 1.0)), False)
    lengths = float(np.linalg.norm(mine @ mine.T) * np.linalg.norm(theirs @ theirs.T))
    score = float(np.linalg.norm(mine @ theirs.T) ** 2 / lengths) if lengths else 0.0
    cosines = _unit(mine) @ _unit(theirs).T
    pairs = _best_pairs(cosines, own.details.get("labels", []), other.details.get("labels", []))
    return Relative(other.repo, score, True, pairs)


def _by_update(repo: Repo, rows: Sequence[Embedding], most: int, *, copies: bool) -> list[Relative]:
    known = _kinships(repo, [row.repo for row in rows])
    found = []
    for row in rows:
        pair = known.get(row.repo_id)
        score = pair.cosine if pair else 1.0 - float(getattr(row, "distance", 1.0))
        places = tuple(Pair(name, "", value) for name, value in (pair.places if pair else [])[:EVIDENCE])
        if (score >= COPY) == copies:
            found.append(Relative(row.repo, score, pair is not None, places))
    return sorted(found, key=lambda item: -item.score)[:most]


def _kinships(repo: Repo, others: Iterable[Repo]) -> dict[Any, Kinship]:
    ids = [other.pk for other in others]
    pairs = Kinship.objects.filter(Q(left=repo, right__in=ids) | Q(right=repo, left__in=ids))
    return {pair.right_id if pair.left_id == repo.pk else pair.left_id: pair for pair in pairs}


def _best_pairs(cosines: Array, mine: Sequence[str], theirs: Sequence[str]) -> tuple[Pair, ...]:
    """The nearest pairs, each row and each column once."""
    if len(mine) != cosines.shape[0] and mine:
        return ()
    if len(theirs) != cosines.shape[1]:
        return ()
    pairs: list[Pair] = []
    left = np.array(cosines, copy=True)
    for _ in range(min(EVIDENCE, *left.shape)):
        row, column = divmod(int(left.argmax()), left.shape[1])
        pairs.append(Pair(str(mine[row]) if mine else "", str(theirs[column]), float(left[row, column])))
        left[row, :], left[:, column] = -2.0, -2.0
    return tuple(pairs)


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))
