"""In-context learning with the same examples: they stand in the prompt, nothing is trained (Brown et al. 2020)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from adapters.runtime.examples import Example
from adapters.runtime.likelihood import label_tokens, prompt_tokens
from adapters.runtime.progress import Progress, silent
from adapters.runtime.prompts import DEFAULT_TEMPLATE, prompt_of
from adapters.runtime.runtime import Runtime

TOKENS_IN_MEMORY = 6_000
"""Prefix tokens times rows held at once: each row carries the prefix's keys and values."""
MESSAGE = "Reading examples in the prompt"


def shots_in_order(
    examples: Sequence[Example], tokenizer: Any, order: int, most_tokens: int, template: str = DEFAULT_TEMPLATE
) -> tuple[list[int], int]:
    """(token numbers of the examples in the order of this seed, how many fit into `most_tokens`)."""
    rows = list(examples)
    random.Random(order).shuffle(rows)  # noqa: S311 - an order, not a secret
    taken: list[int] = []
    count = 0
    for row in rows:
        text = f"{prompt_of(row.text, row.text_pair, template)} {row.label}\n\n"
        ids = tokenizer(text, add_special_tokens=not taken)["input_ids"]
        if len(taken) + len(ids) > most_tokens:
            break
        taken += ids
        count += 1
    return taken, count


def in_context_scores(
    runtime: Runtime,
    prefix: Sequence[int],
    texts: Sequence[Example],
    labels: Sequence[str],
    *,
    template: str = DEFAULT_TEMPLATE,
    progress: Progress = silent,
) -> np.ndarray:
    """Mean log-likelihood per token of each label behind prefix and prompt, shape (texts, labels), in nats.

    The prefix is read once and its keys and values are reused, which is the cheapest way to do this.
    """
    tokenizer, reader = runtime.tokenizer, runtime.choices(None)
    prompts = [prompt_of(row.text, row.text_pair, template) for row in texts]
    heads = prompt_tokens(tokenizer, prompts, 256, special=not prefix)
    sums, counts = reader.scores(
        heads, label_tokens(tokenizer, labels, 64), at_once=max(1, min(16, TOKENS_IN_MEMORY // max(1, len(prefix)))),
        prefix=reader.prefix(prefix), progress=lambda done, total, _: progress(done, total, MESSAGE),
    )  # fmt: skip
    return (sums / counts).numpy()
