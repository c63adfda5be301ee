"""Sequence classification: the cross-entropy of a head on an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from adapters.runtime.batching import second_texts
from adapters.runtime.examples import Example
from adapters.runtime.linear import fit_linear
from merges.training.learners import class_weights
from merges.training.settings import Settings

STRENGTH = 3.0


class HeadLearner:
    """Sequence classification: tokens are made once, batches padded to their longest row."""

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
        self._model, self._tokenizer, self._device = model, tokenizer, device
        self._batch_size = settings.batch_size
        number = {label: index for index, label in enumerate(labels)}
        # Decided over both splits, so that a text is read the same way in training and validation.
        paired = second_texts([example.text_pair for example in [*train, *validation]]) is not None
        self._paired, self._longest = paired, settings.max_length
        self._train = self._tokens(train, settings.max_length, paired)
        self._validation = self._tokens(validation, settings.max_length, paired)
        self._targets = torch.tensor([number[example.label] for example in train])
        self._expected = torch.tensor([number[example.label] for example in validation], dtype=torch.long)
        self._weights = class_weights(self._targets.tolist(), len(labels), settings.class_weights).to(device)
        self.lengths = [len(row["input_ids"]) for row in self._train]

    def parts(self, rows: Sequence[int]) -> list[list[int]]:
        """The batch in one part."""
        return [list(rows)]

    def loss(self, rows: Sequence[int]) -> torch.Tensor:
        """Cross-entropy weighted by class."""
        logits = self._model(**self._padded([self._train[row] for row in rows])).logits
        return torch.nn.functional.cross_entropy(
            logits.float(), self._targets[list(rows)].to(self._device), weight=self._weights
        )

    def validate(self) -> tuple[float, float]:
        """Unweighted cross-entropy and accuracy of the head."""
        logits = self._in_batches(self._validation, lambda batch: self._model(**batch).logits.float())
        right = (logits.argmax(1) == self._expected).double().mean()
        return float(torch.nn.functional.cross_entropy(logits, self._expected)), float(right)

    def warm_up_head(self, head: torch.nn.Linear) -> None:
        """Set the head to the logistic regression on what it is fed before any training.

        Centred and scaled to a mean square of one: the texts' common part is large, and would leave the little that
        tells them apart to the punishment of weights.
        """
        seen: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach().cpu()))
        self._in_batches(self._train, lambda batch: self._model(**batch).logits, seen=seen)
        hook.remove()
        fed = seen[0].double().numpy()
        centre = fed.mean(0)
        fed = fed - centre
        scale = float(np.sqrt((fed**2).sum(1).mean())) or 1.0
        weights = self._weights.cpu().numpy()[self._targets.numpy()]
        matrix, bias = fit_linear(
            fed / scale, self._targets.tolist(), len(self._weights), strength=STRENGTH, weights=weights
        )
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(matrix / scale))
            head.bias.copy_(torch.from_numpy(bias - matrix @ centre / scale))

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> dict[str, torch.Tensor]:
        """Token tensors of some texts, as this learner reads its own."""
        seconds = list(pairs or [""] * len(texts)) if self._paired else None
        made = self._tokenizer(list(texts), seconds, truncation=True, max_length=self._longest)
        return self._padded([{name: made[name][row] for name in made} for row in range(len(texts))])

    def _tokens(self, examples: Sequence[Example], longest: int, paired: bool) -> list[dict[str, list[int]]]:
        if not examples:
            return []
        pairs = [example.text_pair or "" for example in examples] if paired else None
        made = self._tokenizer([example.text for example in examples], pairs, truncation=True, max_length=longest)
        return [{name: made[name][row] for name in made} for row in range(len(examples))]

    def _padded(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        batch = self._tokenizer.pad(rows, padding="longest", return_tensors="pt")
        return {name: tensor.to(self._device) for name, tensor in batch.items()}

    def _in_batches(self, rows: list[dict[str, list[int]]], compute: Any, seen: list | None = None) -> torch.Tensor:
        self._model.eval()
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
        back = torch.tensor(order).argsort()
        with torch.no_grad():
            found = [
                compute(self._padded([rows[row] for row in order[start : start + 2 * self._batch_size]])).cpu()
                for start in range(0, len(order), 2 * self._batch_size)
            ]
        if seen is not None:
            seen[:] = [torch.cat(seen)[back]]
        return torch.cat(found)[back]
