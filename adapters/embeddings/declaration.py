"""How an embedding method declares itself, what it may be given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from adapters.embeddings.updates import Update
from adapters.runtime.examples import Example

if TYPE_CHECKING:
    from adapters.runtime.runtime import Runtime  # torch: only workers have it

Array = npt.NDArray[Any]
Need = Literal["texts", "labels", "weights", "tuned"]


class EmbeddingFault(ValueError):
    """A vector cannot be made or compared; the message says what happened and what to do."""


@dataclass(frozen=True)
class Reference:
    """Where a method comes from."""

    authors: str
    title: str
    year: int
    url: str


@dataclass(frozen=True)
class Material:
    """What is there to embed one task or adapter from; a method declares which of it it needs.

    `encode` gives unit vectors of texts, float32 (n, d). `probe` is the runtime of the frozen probe. `update` is the
    adapter's ΔW; `tuned` its name in a runtime (`probe`) where it is attached with its head. `seed` decides every draw.
    """

    examples: Sequence[Example] = ()
    encode: Callable[[Sequence[str]], Array] | None = None
    probe: Runtime | None = None
    update: Update | None = None
    tuned: str | None = None
    seed: int = 0
    progress: Callable[[int, int, str], None] = lambda _done, _total, _message: None


@dataclass(frozen=True)
class Placed:
    """One vector, the rows it was made from where there are any, and how it came about."""

    vector: Array
    rows: Array | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to place a task or an adapter.

    `question` is what nearness says, in words for a list's heading. `probe` names what the vectors hang on: vectors
    compare only when they come from the same one. `version` rises whenever equal material would give other vectors.
    `similarity` compares two vectors of this method; larger is nearer, 1 is the same.
    """

    name: str
    title: str
    question: str
    summary: str
    reference: Reference
    needs: tuple[Need, ...]
    probe: Literal["encoder", "base"]
    version: int
    order: int
    embed: Callable[[Material], Placed]
    similarity: Callable[[Array, Array], float]
    error: str = ""


def unit(values: Array) -> Array:
    """A vector, or each row of a matrix, scaled to length one in float32. Raises EmbeddingFault for zero or NaN."""
    wide = np.asarray(values, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise EmbeddingFault("A vector holds NaN or infinite values. Make it again and upload it.")
    if wide.size == 0 or not (lengths > 0).all():
        raise EmbeddingFault("A vector is zero everywhere, so it has no direction. Make it again and upload it.")
    return np.asarray(wide / lengths, dtype=np.float32)


def cosine(one: Array, other: Array) -> float:
    """Cosine of two vectors. Raises EmbeddingFault for different lengths, zero or NaN."""
    if one.shape != other.shape:
        raise EmbeddingFault(
            f"These vectors have {one.shape[-1]} and {other.shape[-1]} numbers: they come from different encoders."
        )
    return float(unit(one).astype(np.float64) @ unit(other).astype(np.float64))
