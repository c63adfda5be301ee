"""Text to text: the losses of T-Few (Liu et al. 2022) on the labels a causal language model continues a prompt with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from adapters.runtime.choices import ChoiceReader, Choices, parts_within
from adapters.runtime.examples import Example
from adapters.runtime.likelihood import label_tokens, prompt_of, prompt_tokens
from merges.training.learners import class_weights
from merges.training.settings import Settings


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
        self._model, self._device = model, device
        self._settings, self._labels = settings, list(labels)
        self._targets = [self._labels.index(row.label) for row in train]
        self._weights = class_weights(self._targets, len(labels), settings.class_weights)
        self._tails = label_tokens(tokenizer, labels, settings.max_length)
        self._reader = ChoiceReader(model, tokenizer.pad_token_id, device)
        room = settings.max_length - max(len(tail) for tail in self._tails)
        self._train, self._validation = (
            prompt_tokens(tokenizer, [prompt_of(row.text, row.text_pair, settings.template) for row in rows], room)
            for rows in (train, validation)
        )
        self._expected = torch.tensor([self._labels.index(row.label) for row in validation], dtype=torch.long)
        self.lengths = [len(head) for head in self._train]

    def parts(self, rows: Sequence[int]) -> list[list[int]]:
        """A batch in parts whose label tokens fit into memory together."""
        longest = sorted((len(tail) for tail in self._tails), reverse=True)
        offered = min(len(longest), self._settings.negatives + 1) if self._contrast else 1
        return list(parts_within(rows, sum(longest[:offered]) + 1))

    def loss(self, rows: Sequence[int]) -> torch.Tensor:
        """L_LM + unlikelihood * L_UL + length_normalised * L_LN of Liu et al. 2022, equations 1 to 3.

        L_LM: mean negative log p of the right label's tokens. L_UL: mean over wrong labels' tokens of -log(1 - p).
        L_LN: cross-entropy of the right label among all by their mean log p per token. Weighted by class.
        """
        settings = self._settings
        offered = [self._offered(self._targets[row]) for row in rows]
        weights = self._weights[[self._targets[row] for row in rows]].to(self._device)
        found = self._reader.read(
            [self._train[row] for row in rows], [[self._tails[label] for label in row] for row in offered]
        )
        means = (found.sums() / found.counts()).masked_fill(~found.present(), -torch.inf)
        each = -means[:, 0]
        if settings.length_normalised:
            each = each - settings.length_normalised * means.log_softmax(1)[:, 0]
        if settings.unlikelihood:
            each = each + settings.unlikelihood * _unlikelihood(found)
        return (each * weights).mean()

    def validate(self) -> tuple[float, float]:
        """Loss and accuracy when each text gets the label of the highest likelihood per token.

        The loss is the length-normalised one, which falls exactly when the right labels gain on the others.
        """
        self._model.eval()
        sums, counts = self._reader.scores(self._validation, self._tails, at_once=self._settings.batch_size)
        scores = sums / counts
        right = (scores.argmax(1) == self._expected).double().mean()
        return float(torch.nn.functional.cross_entropy(scores, self._expected)), float(right)

    @property
    def _contrast(self) -> bool:
        return self._settings.unlikelihood > 0 or self._settings.length_normalised > 0

    def _offered(self, right: int) -> list[int]:
        """The right label first, then the wrong ones to compare it with, at most `negatives` of them."""
        if not self._contrast:
            return [right]
        wrong = [label for label in range(len(self._labels)) if label != right]
        if len(wrong) > self._settings.negatives:
            # torch's generator: a resumed training draws what the interrupted one would have drawn.
            wrong = [wrong[index] for index in torch.randperm(len(wrong))[: self._settings.negatives].tolist()]
        return [right, *wrong]


def _unlikelihood(found: Choices) -> torch.Tensor:
    """-log(1 - p) of the wrong labels' tokens, mean over them, shape (rows,)."""
    wrong = found.owner > 0
    each = -torch.log1p(-found.tokens.exp().clamp(max=1 - 1e-6))
    return each.masked_fill(~wrong, 0.0).sum(1) / wrong.sum(1).clamp(min=1)
