"""Encoder-decoder bases (T5, BART): the encoder reads a prompt once, the decoder scores labels or writes an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutput

from adapters.runtime.progress import Progress


class EncoderDecoder:
    """One such model, with or without an adapter, made ready to score labels and to write."""

    def __init__(self, model: Any, plain: Any, tokenizer: Any, device: torch.device, *, max_length: int) -> None:
        """`model` is called for outputs, `plain` is the base whose configurations say how an answer begins.

        `max_length` is in tokens.
        """
        self._model, self._plain, self._tokenizer, self._device = model, plain, tokenizer, device
        self._max_length = max_length

    def label_likelihoods(
        self, prompts: Sequence[str], labels: Sequence[str], batch_size: int, progress: Progress
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums of log p over each label's tokens (its end token too) in nats, and their numbers; (prompts, labels)."""
        tails = self._tokenizer(list(labels))["input_ids"]
        sums = np.zeros((len(prompts), len(labels)))
        counts = np.tile(np.array([len(tail) for tail in tails], dtype=np.float64), (len(prompts), 1))
        heads = self._heads(prompts)
        order, done = sorted(range(len(heads)), key=lambda index: len(heads[index])), 0
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                part = order[start : start + batch_size]
                read: dict[str, Any] = self._batch([heads[index] for index in part])
                for number, tail in enumerate(tails):
                    wanted = torch.tensor([tail] * len(part), device=self._device)
                    before = torch.cat([self._starts(len(part)), wanted[:, :-1]], 1)
                    answer = self._model(**read, decoder_input_ids=before, use_cache=False)
                    chosen = torch.log_softmax(answer.logits.float(), -1).gather(2, wanted[:, :, None])
                    sums[part, number] = chosen.squeeze(2).double().sum(1).cpu().numpy()
                    read = _encoded(read, answer)
                done += len(part)
                progress(done, len(order), "Scoring labels")
        return sums, counts

    def greedy(self, prompts: Sequence[str], most_tokens: int) -> list[str]:
        """What the decoder writes for each prompt of one batch, the likeliest token each time, up to its end token."""
        read: dict[str, Any] = self._batch(self._heads(prompts))
        end, past = self._tokenizer.eos_token_id, None
        first = getattr(self._plain.generation_config, "forced_bos_token_id", None)
        step = self._starts(len(prompts))
        made = step[:, :0]
        ended = torch.zeros(len(prompts), dtype=torch.bool, device=self._device)
        with torch.inference_mode():
            for number in range(most_tokens):
                answer = self._model(**read, decoder_input_ids=step, past_key_values=past, use_cache=True)
                chosen = answer.logits[:, -1].argmax(-1)
                if number == 0 and first is not None:
                    chosen = torch.full_like(chosen, first)
                if end is not None:
                    chosen = torch.where(ended, torch.full_like(chosen, end), chosen)
                    ended = ended | (chosen == end)
                made, step = torch.cat([made, chosen[:, None]], 1), chosen[:, None]
                past, read = answer.past_key_values, _encoded(read, answer)
                if bool(ended.all()):
                    break
        return [str(text) for text in self._tokenizer.batch_decode(made, skip_special_tokens=True)]

    def _heads(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each prompt; one too long loses its beginning, never its end: the question stands there."""
        return [ids[-self._max_length :] for ids in self._tokenizer(list(prompts))["input_ids"]]

    def _batch(self, heads: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        """Padded on the right, as encoders read."""
        width = max(map(len, heads))
        ids = torch.full((len(heads), width), self._tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, head in enumerate(heads):
            ids[row, : len(head)], mask[row, : len(head)] = torch.tensor(head), 1
        return {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}

    def _starts(self, rows: int) -> torch.Tensor:
        config = self._plain.config
        start = getattr(config, "decoder_start_token_id", None)
        start = self._tokenizer.pad_token_id if start is None else start
        return torch.full((rows, 1), int(start), dtype=torch.long, device=self._device)


def _encoded(read: dict[str, Any], answer: Any) -> dict[str, Any]:
    """The same prompts, already read: the decoder goes on from the encoder's vectors."""
    if "encoder_outputs" in read:
        return read
    vectors = BaseModelOutput(last_hidden_state=answer.encoder_last_hidden_state)
    return {"attention_mask": read["attention_mask"], "encoder_outputs": vectors}
