"""In-context learning with the same examples: they stand in the prompt, nothing is trained (Brown et al. 2020)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from adapters.runtime.choices import choices_apart, choices_together, read_prefix, reads_choices_together
from adapters.runtime.examples import Example
from adapters.runtime.likelihood import token_rows
from adapters.runtime.prompts import DEFAULT_TEMPLATE, prompt_of
from adapters.runtime.runtime import Progress, Runtime, silent

TOKENS_IN_MEMORY = 6_000
"""Prefix tokens times rows held at once: each row carries the prefix's keys and values."""


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
    model, tokenizer = runtime.plain_model, runtime.tokenizer
    pad, device = tokenizer.pad_token_id, runtime.device
    tails = [tail for _, tail in token_rows(tokenizer, [""] * len(labels), labels, 64)]
    prompts = [prompt_of(row.text, row.text_pair, template) for row in texts]
    heads = [ids[-256:] for ids in tokenizer(prompts, add_special_tokens=False)["input_ids"]]
    together = reads_choices_together(model, heads[0], tails, pad)
    scores = np.zeros((len(texts), len(labels)))
    order = sorted(range(len(texts)), key=lambda row: len(heads[row]))
    size = max(1, min(16, TOKENS_IN_MEMORY // max(1, len(prefix)))) if together else 1
    with torch.inference_mode():
        read = read_prefix(model, prefix, device) if together and prefix else None
        for start in range(0, len(order), size):
            part = order[start : start + size]
            some = [heads[row] for row in part]
            if together:
                found = choices_together(model, some, [tails] * len(part), pad, device, read)
                values = found.sums() / found.counts()
            else:
                whole = [[*prefix, *head] for head in some]
                sums, counts = choices_apart(model, whole, [tails] * len(part), pad, device)
                values = sums / counts
            scores[part] = values.double().cpu().numpy()
            progress(min(start + size, len(order)), len(order), "Reading examples in the prompt")
    return scores
