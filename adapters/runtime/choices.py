"""All labels of a text scored in one pass: the prompt is read once, the labels stand side by side behind it.

Each label sees the prompt and itself but no other label (a block mask), and counts its positions from the prompt's end,
so the numbers are those of scoring each label alone; the work is one prompt instead of one for each label.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adapters.runtime.likelihood import label_log_likelihoods


@dataclass(frozen=True)
class Choices:
    """Token log-probabilities of every choice.

    `tokens`: log p(token | prompt, earlier tokens of its choice), shape (rows, width), zero where there is none;
    `owner`: which choice of its row a column belongs to, -1 for none, same shape; `most`: choices of the longest row.
    """

    tokens: torch.Tensor
    owner: torch.Tensor
    most: int

    def sums(self) -> torch.Tensor:
        """Log-likelihood of each choice, shape (rows, most); a choice a row does not have stays 0."""
        return self._gathered(self.tokens)

    def counts(self) -> torch.Tensor:
        """Tokens of each choice, shape (rows, most); at least 1, so that it may divide."""
        return self._gathered((self.owner >= 0).to(self.tokens.dtype)).clamp(min=1)

    def present(self) -> torch.Tensor:
        """Whether a row has this choice, bool of shape (rows, most)."""
        return self._gathered((self.owner >= 0).to(self.tokens.dtype)) > 0

    def _gathered(self, values: torch.Tensor) -> torch.Tensor:
        empty = values.new_zeros((len(values), self.most + 1))
        return empty.scatter_add(1, self.owner.where(self.owner >= 0, self.most), values)[:, : self.most]


@dataclass(frozen=True)
class Prefix:
    """Tokens that stand before every prompt, read once: their keys and values, and how many they are."""

    cache: Any
    length: int


def read_prefix(model: Any, ids: Sequence[int], device: torch.device) -> Prefix:
    """Read the tokens that many prompts share."""
    with torch.no_grad():
        cache = model(input_ids=torch.tensor([list(ids)], device=device), use_cache=True).past_key_values
    return Prefix(cache, len(ids))


def choices_together(
    model: Any,
    heads: Sequence[list[int]],
    tails: Sequence[Sequence[list[int]]],
    pad: int,
    device: torch.device,
    prefix: Prefix | None = None,
) -> Choices:
    """Score `tails[row]` (token numbers of each choice) behind `heads[row]`, one forward pass, with gradients.

    With a `prefix` every prompt stands behind its tokens, which are not read again.
    Needs a model that takes a four-dimensional attention mask and position_ids; see `reads_choices_together`.
    """
    lengths = [sum(len(tail) for tail in row) for row in tails]
    tail_width, width = max(lengths), max(len(head) + size for head, size in zip(heads, lengths, strict=True))
    rows = len(heads)
    ids = torch.full((rows, width), pad, dtype=torch.long)
    part = torch.full((rows, width), -1, dtype=torch.long)  # 0: prompt, 1 + number: a choice, -1: padding
    places = torch.zeros((rows, width), dtype=torch.long)
    source = torch.zeros((rows, tail_width), dtype=torch.long)  # which kept column predicts this token
    for row, (head, row_tails) in enumerate(zip(heads, tails, strict=True)):
        begin = width - lengths[row]
        first = begin - len(head)
        ids[row, first:begin] = torch.tensor(head, dtype=torch.long)
        part[row, first:begin] = 0
        places[row, first:begin] = torch.arange(len(head))
        column = begin
        for number, tail in enumerate(row_tails):
            end = column + len(tail)
            ids[row, column:end] = torch.tensor(tail, dtype=torch.long)
            part[row, column:end] = number + 1
            places[row, column:end] = torch.arange(len(head), len(head) + len(tail))
            kept = torch.arange(column - 1, end - 1)
            kept[0] = begin - 1
            source[row, column - (width - tail_width) : end - (width - tail_width)] = kept - (width - tail_width - 1)
            column = end
    mask = _mask(part)
    arguments: dict[str, Any] = {"input_ids": ids.to(device), "use_cache": False}
    if prefix is not None:
        cache = copy.deepcopy(prefix.cache)
        cache.batch_repeat_interleave(rows)
        arguments["past_key_values"] = cache
        mask = torch.cat([mask.new_zeros((rows, 1, width, prefix.length)), mask], dim=3)
        places += prefix.length
    arguments |= {"attention_mask": mask.to(device), "position_ids": places.to(device)}
    if "logits_to_keep" in _accepted(model):
        arguments["logits_to_keep"] = tail_width + 1
    logits = model(**arguments).logits[:, -(tail_width + 1) :].float()
    owner = (part[:, -tail_width:] - 1).clamp(min=-1).to(device)
    wanted, kept_ids = source.to(device), ids[:, -tail_width:].to(device)
    # log p of the chosen token only: logit minus log-sum-exp, so the whole table is never copied.
    totals = logits.logsumexp(2).gather(1, wanted)
    chosen = logits[torch.arange(rows, device=device).unsqueeze(1), wanted, kept_ids] - totals
    return Choices(chosen.masked_fill(owner < 0, 0.0), owner, max(len(row) for row in tails))


def choices_apart(
    model: Any, heads: Sequence[list[int]], tails: Sequence[Sequence[list[int]]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sums, counts) of shape (rows, choices) with a pass for each choice: for models that cannot read them together.

    Every row must have equally many choices.
    """
    flat = [(head, tail) for head, row in zip(heads, tails, strict=True) for tail in row]
    sums, counts = label_log_likelihoods(model, flat, pad, device)
    return sums.reshape(len(heads), -1), counts.reshape(len(heads), -1)


def reads_choices_together(model: Any, head: list[int], tails: Sequence[list[int]], pad: int) -> bool:
    """Whether this model gives the same numbers both ways; tried once on one text."""
    if "position_ids" not in _accepted(model):
        return False
    device = next(model.parameters()).device
    with torch.no_grad():
        try:
            together = choices_together(model, [head, head[-2:]], [tails, tails], pad, device).sums()
            apart, _ = choices_apart(model, [head, head[-2:]], [tails, tails], pad, device)
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
    return bool(torch.allclose(together, apart, atol=1e-2, rtol=1e-3))


def _mask(part: torch.Tensor) -> torch.Tensor:
    """Additive mask (rows, 1, width, width): causal, no padding seen, no choice sees another; padding sees itself."""
    width = part.shape[1]
    before = torch.ones((width, width), dtype=torch.bool).tril()
    seen, sees = part.unsqueeze(1), part.unsqueeze(2)
    allowed = before & (seen >= 0) & ((seen == 0) | (seen == sees))
    allowed |= torch.eye(width, dtype=torch.bool)
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min).unsqueeze(1)


def _accepted(model: Any) -> set[str]:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return set(inspect.signature(inner.forward).parameters)
