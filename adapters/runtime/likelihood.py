"""How likely a causal language model finds each label as the continuation of a prompt, one sequence for each label."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from adapters.runtime.prompts import DEFAULT_TEMPLATE, prompt_of

__all__ = [
    "DEFAULT_TEMPLATE", "accepted_arguments", "label_tokens", "prompt_of", "prompt_tokens", "tail_log_probabilities",
]  # fmt: skip


def label_tokens(tokenizer: Any, labels: Sequence[str], longest: int) -> list[list[int]]:
    """Token numbers of each label as a continuation: with a leading space, and an end token if the model has one."""
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    tails = tokenizer([" " + label for label in labels], add_special_tokens=False)["input_ids"] if labels else []
    return [(tail + end)[: longest - 1] for tail in tails]


def prompt_tokens(tokenizer: Any, prompts: Sequence[str], longest: int, *, special: bool = True) -> list[list[int]]:
    """Token numbers of each prompt, at most `longest` (at least 2): the beginning is lost, for the question ends it."""
    heads = tokenizer(list(prompts), add_special_tokens=special)["input_ids"] if prompts else []
    return [head[-max(2, longest) :] for head in heads]


def tail_log_probabilities(
    model: Any, rows: Sequence[tuple[list[int], list[int]]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(label token | before) of each row's label, and where there is one: both (rows, longest label).

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
    if "position_ids" in accepted_arguments(model):
        arguments["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    logits = last_logits(model, arguments, tail_width + 1)[:, :-1]
    chosen = logits.gather(2, ids[:, -tail_width:].unsqueeze(2)).squeeze(2) - logits.logsumexp(2)
    return chosen.masked_fill(~wanted, 0.0), wanted


def last_logits(model: Any, arguments: dict[str, Any], places: int) -> torch.Tensor:
    """Logits at the last `places` of each row, float32 of shape (rows, places, vocabulary).

    A model that can is told to compute no others. It is told by a tensor: a plain number makes it take a slice of its
    hidden states, which torch multiplies with the vocabulary row by row instead of at once (a fifth of all time).
    """
    if "logits_to_keep" in accepted_arguments(model):
        ids = arguments["input_ids"]
        arguments = arguments | {"logits_to_keep": torch.arange(ids.shape[1] - places, ids.shape[1], device=ids.device)}
    return model(**arguments).logits[:, -places:].float()


def accepted_arguments(model: Any) -> set[str]:
    """Names of what the forward pass of the model (inside peft's wrapping) takes."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return set(inspect.signature(inner.forward).parameters)
