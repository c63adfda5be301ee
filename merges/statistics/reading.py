"""How a model answers examples, so that each outcome's likelihood has a gradient: by a head, labels or next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from adapters.runtime.batching import encode, second_texts
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.examples import Example
from adapters.runtime.likelihood import label_tokens, prompt_of, prompt_tokens, tail_log_probabilities
from adapters.runtime.runtime import Runtime
from merges.statistics.layers import LinearHooks

Likelihood = Literal["label", "next_token"]


class Reader(Protocol):
    """One way to read; `most` examples at a time."""

    most: int

    def read(self, part: Sequence[Example], layers: Sequence[LinearHooks]) -> tuple[torch.Tensor, int]:
        """log p of every outcome for each example (rows, outcomes), with its graph, and how many tokens were seen.

        Sets the layers' masks where their Grams are to count.
        """


@dataclass
class Heads:
    """A classifier's labels."""

    runtime: Runtime
    forward: Any
    most: int = 8

    def read(self, part: Sequence[Example], layers: Sequence[LinearHooks]) -> tuple[torch.Tensor, int]:
        """See `Reader`."""
        pairs = second_texts([row.text_pair for row in part])
        batch = encode(self.runtime.tokenizer, [row.text for row in part], pairs, self.runtime.max_length)
        batch = {name: value.to(self.runtime.device) for name, value in batch.items()}
        mask = batch["attention_mask"].bool()
        for layer in layers:
            layer.mask = mask
        return torch.log_softmax(self.forward(**batch).logits.float(), dim=1), int(mask.sum())


class Labels:
    """A causal model's labels: p(y | x) = softmax over the labels of their log-likelihoods behind the prompt.

    The Grams are those of the prompt with its own label, read without gradients. Where the model reads all labels of a
    prompt in one sequence, several examples go together; else one example at a time, a row for each label.
    """

    def __init__(self, runtime: Runtime, adapter: str, labels: Sequence[str]) -> None:
        self._runtime, self._model, self._labels = runtime, runtime.model_of(adapter), list(labels)
        self._choices = runtime.choices(adapter)
        self._tails = label_tokens(runtime.tokenizer, self._labels, runtime.max_length)
        self._room = runtime.max_length - max(map(len, self._tails), default=0)
        self.most = 8 if self._choices.together else 1

    def read(self, part: Sequence[Example], layers: Sequence[LinearHooks]) -> tuple[torch.Tensor, int]:
        """See `Reader`."""
        heads = prompt_tokens(self._runtime.tokenizer, [prompt_of(row.text, row.text_pair) for row in part], self._room)
        own = [self._tails[self._labels.index(row.label)] for row in part]
        tokens = _look(self._model, self._runtime, list(zip(heads, own, strict=True)), layers)
        for layer in layers:
            layer.mask, layer.one_example = None, not self._choices.together
        read = self._choices.read(heads, [self._tails] * len(part))
        return torch.log_softmax(read.sums(), dim=1), tokens


class Tokens:
    """A causal model's next tokens: one outcome, log p summed over the tokens of prompt and label.

    `draw`: each token is drawn from the model where the text stands, else (None) it is the text's own. Tokens drawn so
    are independent with mean gradient zero, so the square of their sum is the sum of the tokens' own Fishers.
    """

    most = 8

    def __init__(self, runtime: Runtime, adapter: str, draw: torch.Generator | None) -> None:
        self._runtime, self._model, self._draw = runtime, runtime.model_of(adapter), draw

    def read(self, part: Sequence[Example], layers: Sequence[LinearHooks]) -> tuple[torch.Tensor, int]:
        """See `Reader`."""
        runtime = self._runtime
        heads = prompt_tokens(
            runtime.tokenizer, [prompt_of(row.text, row.text_pair) for row in part], runtime.max_length
        )
        tails = label_tokens(runtime.tokenizer, [row.label for row in part], runtime.max_length)
        texts = [[*head, *tail][: runtime.max_length] for head, tail in zip(heads, tails, strict=True)]
        width = max(map(len, texts))
        ids = torch.full((len(texts), width), runtime.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros((len(texts), width), dtype=torch.bool)
        for row, text in enumerate(texts):
            ids[row, : len(text)], mask[row, : len(text)] = torch.tensor(text), True
        ids, mask = ids.to(runtime.device), mask.to(runtime.device)
        for layer in layers:
            layer.mask = mask
        logits = self._model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[:, :-1].float()
        wanted = ids[:, 1:]
        if self._draw is not None:
            chances = torch.softmax(logits.detach(), dim=2).flatten(0, 1).cpu()
            wanted = torch.multinomial(chances, 1, generator=self._draw).view(wanted.shape).to(runtime.device)
        chosen = logits.gather(2, wanted.unsqueeze(2)).squeeze(2) - logits.logsumexp(2)
        return chosen.masked_fill(~mask[:, 1:], 0.0).sum(1, keepdim=True), int(mask.sum())


def reader_of(
    runtime: Runtime, adapter: str, labels: Sequence[str], likelihood: Likelihood, draw: torch.Generator | None
) -> Reader:
    """The way that fits the base. Raises RuntimeFault for one that has none."""
    if runtime.task == "classify":
        if likelihood == "next_token":
            raise RuntimeFault("This base has no next token: it reads whole texts. Measure over its labels.")
        return Heads(runtime, runtime.differentiable(adapter)[1])
    if runtime.family != "causal":
        raise RuntimeFault("Statistics of encoder-decoder bases cannot be measured here yet.")
    return Labels(runtime, adapter, labels) if likelihood == "label" else Tokens(runtime, adapter, draw)


def _look(model: Any, runtime: Runtime, rows: list[tuple[list[int], list[int]]], layers: Sequence[LinearHooks]) -> int:
    """Read prompts with their labels for the Grams alone; how many tokens that were."""
    width = max(len(head) + len(tail) for head, tail in rows)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for row, (head, tail) in enumerate(rows):
        mask[row, width - len(head) - len(tail) :] = True
    for layer in layers:
        layer.mask = mask.to(runtime.device)
    with torch.no_grad():
        tail_log_probabilities(model, rows, runtime.tokenizer.pad_token_id, runtime.device)
    return int(mask.sum())
