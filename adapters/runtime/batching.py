"""Texts tokenised once, in batches of similar length, and how a model is run over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from adapters.runtime.progress import Progress


@dataclass(frozen=True)
class Batches:
    """Texts tokenised once, in batches of similar length; `rows` says which texts a batch holds. Any adapter of the
    base can be run over them again without tokenising."""

    count: int
    rows: tuple[tuple[int, ...], ...]
    tensors: tuple[dict[str, torch.Tensor], ...]


def tokenised(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str | None] | None, max_length: int, batch_size: int
) -> Batches:
    """Batches of texts, each row cut to `max_length` tokens, the shortest texts first."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    second = second_texts(pairs)
    parts = [tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]
    return Batches(
        len(texts),
        tuple(parts),
        tuple(
            encode(
                tokenizer,
                [texts[index] for index in part],
                [second[index] for index in part] if second else None,
                max_length,
            )
            for part in parts
        ),
    )


def run_over(
    batches: Batches,
    compute: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    device: torch.device,
    progress: Progress,
    message: str,
) -> np.ndarray:
    """What `compute` finds for each text, float32, rows in the order of the texts; without gradients."""
    rows: list[np.ndarray | None] = [None] * batches.count
    done = 0
    with torch.inference_mode():
        for part, batch in zip(batches.rows, batches.tensors, strict=True):
            values = compute({name: tensor.to(device) for name, tensor in batch.items()}).float().cpu().numpy()
            for index, value in zip(part, values, strict=True):
                rows[index] = value
            done += len(part)
            progress(done, batches.count, message)
    return np.stack([row for row in rows if row is not None]) if rows else np.zeros((0, 0), dtype=np.float32)


def second_texts(pairs: Sequence[str | None] | None) -> list[str] | None:
    """The pairs' second texts, None when no row has one; a row without one among others gets an empty text."""
    return [pair or "" for pair in pairs] if pairs and any(pair is not None for pair in pairs) else None


def encode(tokenizer: Any, texts: list[str], pairs: list[str] | None, max_length: int) -> dict[str, torch.Tensor]:
    """Token tensors of a batch, cut to `max_length` tokens and padded to its longest row."""
    return dict(tokenizer(texts, pairs, truncation=True, max_length=max_length, padding="longest", return_tensors="pt"))
