"""All labels of a text scored in one pass: the prompt is read once, the labels stand side by side behind it.

Each label sees the prompt and itself but no other label (a four-dimensional mask), and counts its positions from the
prompt's end, so the numbers are those of scoring each label alone. What labels share at their beginning is read once
too, and no label's last token is read, for nothing comes after it: labels form a tree whose root is the prompt's end.
The work is one prompt and one tree instead of one sequence for each label.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from adapters.runtime.likelihood import accepted_arguments, last_logits, tail_log_probabilities
from adapters.runtime.progress import Progress, silent

TOGETHER = 512
"""Positions that meet the vocabulary at once, which is what costs memory: 100 MB for 50,000 tokens."""
APART = 32
"""Sequences at once where every label needs its own."""
MASKS = frozenset({"sdpa", "eager"})
"""Attention implementations that take a four-dimensional mask."""


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
    """Tokens that stand before every prompt, and, where they are read once, their keys and values."""

    ids: tuple[int, ...]
    cache: Any = None


class ChoiceReader:
    """Scores choices behind prompts with one causal model, the quickest way the model is able to."""

    def __init__(self, model: Any, pad: int, device: torch.device, *, together: bool | None = None) -> None:
        """`together` says whether the model reads choices together, where the caller knows; else it is tried once."""
        self._model, self._pad, self._device = model, pad, device
        self.together = tried_together(model, pad, device) if together is None else together

    def prefix(self, ids: Sequence[int]) -> Prefix:
        """Tokens that many prompts begin with, read once where the model can."""
        if not self.together or not ids:
            return Prefix(tuple(ids))
        with torch.no_grad():
            read = self._model(input_ids=torch.tensor([list(ids)], device=self._device), use_cache=True)
        return Prefix(tuple(ids), read.past_key_values)

    def read(
        self, heads: Sequence[list[int]], tails: Sequence[Sequence[list[int]]], prefix: Prefix | None = None
    ) -> Choices:
        """Score `tails[row]` (token numbers of each choice) behind `heads[row]`; keeps gradients."""
        if self.together:
            return choices_together(self._model, heads, tails, self._pad, self._device, prefix)
        whole = [[*prefix.ids, *head] for head in heads] if prefix else heads
        return choices_apart(self._model, whole, tails, self._pad, self._device)

    def scores(
        self,
        heads: Sequence[list[int]],
        tails: Sequence[list[int]],
        *,
        at_once: int = 16,
        prefix: Prefix | None = None,
        progress: Progress = silent,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(sums of log p in nats, numbers of tokens) of the same choices behind every prompt, float64 (heads, choices).

        At most `at_once` prompts at a time, fewer where the choices are long. Without gradients.
        """
        sums = torch.zeros((len(heads), len(tails)), dtype=torch.float64)
        order = sorted(range(len(heads)), key=lambda row: len(heads[row]))
        done = 0
        with torch.no_grad():
            for first, some in _grouped(tails):
                size = max(1, min(at_once, TOGETHER // (sum(map(len, some)) + 1)))
                for start in range(0, len(order), size):
                    rows = order[start : start + size]
                    found = self.read([heads[row] for row in rows], [some] * len(rows), prefix)
                    sums[rows, first : first + len(some)] = found.sums().double().cpu()
                    done += len(rows) * len(some)
                    progress(done, len(heads) * len(tails), "Scoring labels")
        counts = torch.tensor([float(max(1, len(tail))) for tail in tails], dtype=torch.float64)
        return sums, counts.expand(len(heads), -1)


def passes(tails: Sequence[list[int]], *, together: bool) -> list[tuple[int, int]]:
    """What scoring these choices behind one prompt reads, pass by pass: (tokens behind it, places that are predicted).

    Together a pass reads the nodes of a tree, apart one choice; the prompt is read again in every pass.
    """
    if not together:
        return [(len(tail), len(tail) + 1) for tail in tails]
    sizes = [len(_tree(tuple(map(tuple, some))).ids) for _, some in _grouped(tails)]
    return [(size, size + 1) for size in sizes]


def parts_within(rows: Sequence[int], columns: int) -> Iterator[list[int]]:
    """Rows in parts of which each meets the vocabulary at TOGETHER positions at most, `columns` positions a row."""
    size = max(1, TOGETHER // columns)
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


def choices_together(
    model: Any,
    heads: Sequence[list[int]],
    tails: Sequence[Sequence[list[int]]],
    pad: int,
    device: torch.device,
    prefix: Prefix | None = None,
) -> Choices:
    """Score `tails[row]` behind `heads[row]` (none empty) in one forward pass, with gradients.

    With a `prefix` every prompt stands behind its tokens, which are not read again.
    """
    trees = [_tree(tuple(map(tuple, row))) for row in tails]
    kept = max(len(tree.ids) for tree in trees)
    width, rows = max(len(head) + len(tree.ids) for head, tree in zip(heads, trees, strict=True)), len(heads)
    scored = max(len(tree.tokens) for tree in trees)
    ids = torch.full((rows, width), pad, dtype=torch.long)
    places = torch.zeros((rows, width), dtype=torch.long)
    allowed = torch.eye(width, dtype=torch.bool).repeat(rows, 1, 1)  # padding sees itself: no row without a sum
    source, wanted = torch.zeros((2, rows, scored), dtype=torch.long)
    owner = torch.full((rows, scored), -1, dtype=torch.long)
    for row, (head, tree) in enumerate(zip(heads, trees, strict=True)):
        begin = width - len(tree.ids)
        first = begin - len(head)
        ids[row, first:] = torch.tensor([*head, *tree.ids], dtype=torch.long)
        places[row, first:] = torch.tensor([*range(len(head)), *(len(head) + depth for depth in tree.depths)])
        allowed[row, first:begin, first:begin] = torch.ones((len(head), len(head)), dtype=torch.bool).tril()
        allowed[row, begin:, first:begin] = True
        allowed[row, begin:, begin:] = tree.sees
        size = len(tree.tokens)
        source[row, :size] = torch.tensor(tree.before) + (kept - len(tree.ids) + 1)
        wanted[row, :size] = torch.tensor(tree.tokens)
        owner[row, :size] = torch.tensor(tree.owner)
    mask = torch.zeros((rows, 1, width, width)).masked_fill(~allowed.unsqueeze(1), torch.finfo(torch.float32).min)
    arguments: dict[str, Any] = {"input_ids": ids.to(device), "use_cache": False}
    if prefix is not None and prefix.ids:
        cache = copy.deepcopy(prefix.cache)
        cache.batch_repeat_interleave(rows)
        arguments["past_key_values"] = cache
        mask = torch.cat([mask.new_zeros((rows, 1, width, len(prefix.ids))), mask], dim=3)
        places += len(prefix.ids)
    arguments |= {"attention_mask": mask.to(device), "position_ids": places.to(device)}
    logits = last_logits(model, arguments, kept + 1)
    source, wanted, owner = source.to(device), wanted.to(device), owner.to(device)
    # log p of the chosen token only: logit minus log-sum-exp, so the whole table is never copied.
    chosen = logits[torch.arange(rows, device=device).unsqueeze(1), source, wanted] - logits.logsumexp(2).gather(
        1, source
    )
    return Choices(chosen.masked_fill(owner < 0, 0.0), owner, max(len(row) for row in tails))


def choices_apart(
    model: Any, heads: Sequence[list[int]], tails: Sequence[Sequence[list[int]]], pad: int, device: torch.device
) -> Choices:
    """The same with a sequence for each choice: for models that cannot read them together."""
    flat = [(head, tail) for head, row in zip(heads, tails, strict=True) for tail in row]
    longest, most = max(len(tail) for _, tail in flat), max(map(len, tails))
    read = []
    for start in range(0, len(flat), APART):
        tokens, there = tail_log_probabilities(model, flat[start : start + APART], pad, device)
        missing = longest - tokens.shape[1]
        read.append((torch.nn.functional.pad(tokens, (missing, 0)), torch.nn.functional.pad(there, (missing, 0))))
    tokens, there = (torch.cat(parts) for parts in zip(*read, strict=True))
    # A row's choices side by side; rows with fewer choices end in columns without an owner.
    place = torch.tensor([row * most + number for row, some in enumerate(tails) for number in range(len(some))])
    place = place.to(device)
    empty = tokens.new_zeros((len(heads) * most, longest))
    values = empty.index_copy(0, place, tokens).reshape(len(heads), -1)
    present = torch.zeros_like(empty, dtype=torch.bool).index_copy(0, place, there).reshape(len(heads), -1)
    owner = torch.arange(most, device=device).repeat_interleave(longest).expand(len(heads), -1)
    return Choices(values, owner.where(present, -1), most)


def declares_together(model: Any) -> bool:
    """Whether the model says it takes positions and a mask of its own making.

    A prompt-tuned model does not: it puts its own vectors before the text, which the mask cannot know of.
    """
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return False
    config = getattr(model, "config", None)
    masks = getattr(config, "_attn_implementation", None)
    return "position_ids" in accepted_arguments(model) and (masks is None or masks in MASKS)


def tried_together(model: Any, pad: int, device: torch.device) -> bool:
    """Whether the model declares that it reads choices together, and gives the same numbers so on a small try."""
    if not declares_together(model):
        return False
    known = int(getattr(getattr(model, "config", None), "vocab_size", 0) or 0)
    tokens = [1 + (7 * number) % max(1, known - 1) for number in range(12)]
    heads, tails = [tokens[:5], tokens[3:5]], [tokens[5:8], [*tokens[5:7], tokens[9]], tokens[10:11]]
    with torch.no_grad():
        try:
            together = choices_together(model, heads, [tails] * 2, pad, device).sums()
            apart = choices_apart(model, heads, [tails] * 2, pad, device).sums()
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
    return bool(torch.allclose(together, apart, atol=1e-2, rtol=1e-3))


@dataclass(frozen=True)
class _Tree:
    """Choices as a tree below the prompt's end; a node is a token that is read, in an order parents first.

    `ids`, `depths`: token and distance from the root of each node; `sees`: itself and its ancestors, bool (nodes,
    nodes). `before`, `tokens`, `owner` of each scored token: the node that predicts it (-1: the root), its number, and
    its choice.
    """

    ids: list[int]
    depths: list[int]
    sees: torch.Tensor
    before: list[int]
    tokens: list[int]
    owner: list[int]


@lru_cache(maxsize=256)
def _tree(tails: tuple[tuple[int, ...], ...]) -> _Tree:
    nodes: dict[tuple[int, ...], int] = {}
    parents: list[int] = []
    before, tokens, owner = [], [], []
    for choice, tail in enumerate(tails):
        parent = -1
        for depth, token in enumerate(tail):
            before.append(parent)
            tokens.append(token)
            owner.append(choice)
            if depth < len(tail) - 1:
                path = tail[: depth + 1]
                if path not in nodes:
                    nodes[path] = len(parents)
                    parents.append(parent)
                parent = nodes[path]
    sees = torch.eye(len(parents), dtype=torch.bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            sees[node] |= sees[parent]
    return _Tree([path[-1] for path in nodes], [len(path) - 1 for path in nodes], sees, before, tokens, owner)


def _grouped(tails: Sequence[list[int]]) -> Iterator[tuple[int, list[list[int]]]]:
    """(number of its first choice, choices) in groups of at most TOGETHER tokens."""
    first, some = 0, list[list[int]]()
    for number, tail in enumerate(tails):
        if some and sum(map(len, some)) + len(tail) >= TOGETHER:
            yield first, some
            first, some = number, []
        some.append(tail)
    if some:
        yield first, some
