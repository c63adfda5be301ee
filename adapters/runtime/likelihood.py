"""How likely a causal language model finds each label as the continuation of a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from adapters.runtime.prompts import DEFAULT_TEMPLATE, prompt_of

__all__ = ["DEFAULT_TEMPLATE", "label_log_likelihoods", "prompt_of", "token_rows"]


def token_rows(
    tokenizer: Any, prompts: Sequence[str], labels: Sequence[str], longest: int
) -> list[tuple[list[int], list[int]]]:
    """Token numbers of each prompt and of its label (with a leading space and an end token if the model has one).

    A prompt too long loses its beginning, never its end: the question stands there.
    """
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    heads = tokenizer(list(prompts), add_special_tokens=True)["input_ids"] if prompts else []
    tails = tokenizer([" " + label for label in labels], add_special_tokens=False)["input_ids"] if labels else []
    rows = []
    for head, tail in zip(heads, tails, strict=True):
        tail = (tail + end)[: longest - 1]
        rows.append((head[-(longest - len(tail)) :], tail))
    return rows


def label_log_likelihoods(
    model: Any, rows: Sequence[tuple[list[int], list[int]]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of log p(label token | before) for each row, and the number of label tokens; both of shape (rows,).

    Rows are padded on the left so that all labels end in the last column, and only those columns meet the vocabulary.
    Works with gradients, so training and scoring share it.
    """
    width = max(len(head) + len(tail) for head, tail in rows)
    tail_width = max(len(tail) for _, tail in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    wanted = torch.zeros((len(rows), tail_width), dtype=torch.bool)
    for number, (head, tail) in enumerate(rows):
        ids[number, width - len(head) - len(tail) :] = torch.tensor(head + tail)
        mask[number, width - len(head) - len(tail) :] = 1
        wanted[number, tail_width - len(tail) :] = True
    ids, mask, wanted = ids.to(device), mask.to(device), wanted.to(device)
    arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    accepted = _accepted(model)
    if "position_ids" in accepted:
        arguments["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:
        arguments["logits_to_keep"] = tail_width + 1
    logits = model(**arguments).logits[:, -(tail_width + 1) : -1]
    chosen = torch.log_softmax(logits.float(), dim=-1).gather(2, ids[:, -tail_width:].unsqueeze(2)).squeeze(2)
    return chosen.masked_fill(~wanted, 0.0).sum(1), wanted.sum(1)


def _accepted(model: Any) -> set[str]:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return set(inspect.signature(inner.forward).parameters)
