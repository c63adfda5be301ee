"""Text to text: the losses of T-Few (Liu et al. 2022) on the labels a causal language model continues a prompt with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from adapters.runtime.choices import Choices, choices_apart, choices_together, reads_choices_together
from adapters.runtime.examples import Example
from adapters.runtime.likelihood import prompt_of, token_rows
from merges.training.learners import class_weights
from merges.training.settings import Settings

TOKENS_TOGETHER = 512
"""Label tokens scored at once in validation: each meets the whole vocabulary, which is what costs memory."""


class LikelihoodLearner:
    """Raises each label's likelihood after its prompt and lowers that of the other labels."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        train: Sequence[Example],
        validation: Sequence[Example],
        labels: Sequence[str],
        settings: Settings,
        device: torch.device,
    ) -> None:
        self._model, self._device, self._pad = model, device, tokenizer.pad_token_id
        self._settings, self._labels = settings, list(labels)
        self._targets = [self._labels.index(row.label) for row in train]
        self._weights = class_weights(self._targets, len(labels), settings.class_weights)
        self._tails = [tail for _, tail in token_rows(tokenizer, [""] * len(labels), labels, settings.max_length)]
        room = max(len(tail) for tail in self._tails)
        self._train = self._heads(tokenizer, train, room)
        self._validation = self._heads(tokenizer, validation, room)
        self._expected = torch.tensor([self._labels.index(row.label) for row in validation], dtype=torch.long)
        # A prompt-tuned model puts its own vectors before the text, which a block mask cannot know of.
        self._together = settings.method != "prompt" and reads_choices_together(
            model, self._train[0], self._tails, self._pad
        )
        self.lengths = [len(head) for head in self._train]

    def loss(self, rows: Sequence[int]) -> torch.Tensor:
        """L_LM + unlikelihood * L_UL + length_normalised * L_LN of Liu et al. 2022, equations 1 to 3.

        L_LM: mean negative log p of the right label's tokens. L_UL: mean over wrong labels' tokens of -log(1 - p).
        L_LN: cross-entropy of the right label among all by their mean log p per token. Weighted by class.
        """
        settings = self._settings
        contrast = settings.unlikelihood > 0 or settings.length_normalised > 0
        offered = [self._offered(self._targets[row], contrast) for row in rows]
        heads = [self._train[row] for row in rows]
        weights = self._weights[[self._targets[row] for row in rows]].to(self._device)
        if not self._together:
            return self._loss_apart(heads, offered, weights)
        found = choices_together(
            self._model, heads, [[self._tails[label] for label in row] for row in offered], self._pad, self._device
        )
        means = (found.sums() / found.counts()).masked_fill(~found.present(), -torch.inf)
        each = -means[:, 0]
        if contrast and settings.length_normalised:
            each = each - settings.length_normalised * means.log_softmax(1)[:, 0]
        if contrast and settings.unlikelihood:
            each = each + settings.unlikelihood * _unlikelihood(found)
        return (each * weights).mean()

    def validate(self) -> tuple[float, float]:
        """Loss and accuracy when each text gets the label of the highest likelihood per token.

        The loss is the length-normalised one, which falls exactly when the right labels gain on the others.
        """
        self._model.eval()
        width = sum(len(tail) for tail in self._tails) if self._together else len(self._tails)
        size = max(1, min(self._settings.batch_size, TOKENS_TOGETHER // width))
        found: list[torch.Tensor] = [torch.empty(0)] * len(self._validation)
        order = sorted(range(len(self._validation)), key=lambda row: len(self._validation[row]))
        with torch.no_grad():
            for start in range(0, len(order), size):
                part = order[start : start + size]
                for row, scores in zip(part, self._means([self._validation[row] for row in part]).cpu(), strict=True):
                    found[row] = scores
        scores = torch.stack(found)
        right = (scores.argmax(1) == self._expected).double().mean()
        return float(torch.nn.functional.cross_entropy(scores, self._expected)), float(right)

    def _means(self, heads: list[list[int]]) -> torch.Tensor:
        tails = [self._tails] * len(heads)
        if self._together:
            found = choices_together(self._model, heads, tails, self._pad, self._device)
            return found.sums() / found.counts()
        sums, counts = choices_apart(self._model, heads, tails, self._pad, self._device)
        return sums / counts

    def _loss_apart(self, heads: list[list[int]], offered: list[list[int]], weights: torch.Tensor) -> torch.Tensor:
        """Likelihood and length-normalised loss, a pass for each label; token probabilities are not kept for L_UL."""
        size = min(len(row) for row in offered)
        tails = [[self._tails[label] for label in row[:size]] for row in offered]
        sums, counts = choices_apart(self._model, heads, tails, self._pad, self._device)
        means = sums / counts
        each = -means[:, 0]
        if size > 1 and self._settings.length_normalised:
            each = each - self._settings.length_normalised * means.log_softmax(1)[:, 0]
        return (each * weights).mean()

    def _offered(self, right: int, contrast: bool) -> list[int]:
        """The right label first, then the wrong ones to compare it with, at most `negatives` of them."""
        if not contrast:
            return [right]
        wrong = [label for label in range(len(self._labels)) if label != right]
        if len(wrong) > self._settings.negatives:
            # torch's generator: a resumed training draws what the interrupted one would have drawn.
            wrong = [wrong[index] for index in torch.randperm(len(wrong))[: self._settings.negatives].tolist()]
        return [right, *wrong]

    def _heads(self, tokenizer: Any, rows: Sequence[Example], room: int) -> list[list[int]]:
        prompts = [prompt_of(row.text, row.text_pair, self._settings.template) for row in rows]
        keep = max(2, self._settings.max_length - room)
        return [ids[-keep:] for ids in tokenizer(prompts, add_special_tokens=True)["input_ids"]] if rows else []


def _unlikelihood(found: Choices) -> torch.Tensor:
    """-log(1 - p) of the wrong labels' tokens, mean over them, shape (rows,)."""
    wrong = found.owner > 0
    each = -torch.log1p(-found.tokens.exp().clamp(max=1 - 1e-6))
    return each.masked_fill(~wrong, 0.0).sum(1) / wrong.sum(1).clamp(min=1)
