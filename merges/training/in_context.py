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
    examples: Sequence[Example],
    tokenizer: Any,
    order: int,
    most_tokens: int,
    template: str = DEFAULT_TEMPLATE,
    longest: int | None = None,
) -> tuple[list[int], int]:
    """(token numbers of the examples in the order of this seed, how many fit into `most_tokens`).

    An example of more than `longest` tokens loses its beginning, as a text that is asked about does; one that does not
    fit any more is left out for the next that does.
    """
    rows = list(examples)
    random.Random(order).shuffle(rows)  # noqa: S311 - an order, not a secret
    taken: list[int] = []
    count = 0
    for row in rows:
        text = f"{prompt_of(row.text, row.text_pair, template)} {row.label}\n\n"
        ids = tokenizer(text, add_special_tokens=not taken)["input_ids"]
        ids = ids[-longest:] if longest else ids
        if len(taken) + len(ids) <= most_tokens:
            taken += ids
            count += 1
    return taken, count


def asked(
    runtime: Runtime, texts: Sequence[Example], labels: Sequence[str], template: str, *, first: bool = True
) -> tuple[list[list[int]], list[list[int]]]:
    """Token numbers of (each text's prompt, each label), together at most the runtime's `max_length`.

    As `Runtime.label_likelihoods` reads them; `first` says that nothing stands before the prompt.
    """
    tails = label_tokens(runtime.tokenizer, labels, runtime.max_length)
    room = runtime.max_length - max(map(len, tails), default=0)
    prompts = [prompt_of(row.text, row.text_pair, template) for row in texts]
    return prompt_tokens(runtime.tokenizer, prompts, room, special=first), tails


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

    The prefix is read once and its keys and values are reused, which is the cheapest way to do this. Texts are cut as
    they are without a prefix.
    """
    reader = runtime.choices(None)
    heads, tails = asked(runtime, texts, labels, template, first=not prefix)
    sums, counts = reader.scores(
        heads, tails, at_once=max(1, min(16, TOKENS_IN_MEMORY // max(1, len(prefix)))),
        prefix=reader.prefix(prefix), progress=lambda done, total, _: progress(done, total, MESSAGE),
    )  # fmt: skip
    return (sums / counts).numpy()
