"""Encoder-decoder bases (T5, BART): the encoder reads a prompt once, the decoder scores labels or writes an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutput

if TYPE_CHECKING:
    from adapters.runtime.runtime import Progress, Runtime


def label_likelihoods(
    runtime: Runtime,
    prompts: Sequence[str],
    labels: Sequence[str],
    adapter: str | None,
    batch_size: int,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of log p over each label's tokens (its end token too) in nats, and their numbers; (prompts, labels) each."""
    model, tails = runtime.model_of(adapter), runtime.tokenizer(list(labels))["input_ids"]
    sums = np.zeros((len(prompts), len(labels)))
    counts = np.tile(np.array([len(tail) for tail in tails], dtype=np.float64), (len(prompts), 1))
    heads = _heads(runtime, prompts)
    order, done = sorted(range(len(heads)), key=lambda index: len(heads[index])), 0
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            read: dict[str, Any] = _batch(runtime, [heads[index] for index in part])
            for number, tail in enumerate(tails):
                wanted = torch.tensor([tail] * len(part), device=runtime.device)
                before = torch.cat([_starts(runtime, len(part)), wanted[:, :-1]], 1)
                answer = model(**read, decoder_input_ids=before, use_cache=False)
                chosen = torch.log_softmax(answer.logits.float(), -1).gather(2, wanted[:, :, None])
                sums[part, number] = chosen.squeeze(2).double().sum(1).cpu().numpy()
                read = _encoded(read, answer)
            done += len(part)
            progress(done, len(order), "Scoring labels")
    return sums, counts


def greedy(runtime: Runtime, model: Any, prompts: Sequence[str], most_tokens: int) -> list[str]:
    """What the decoder writes for each prompt of one batch, the likeliest token each time, up to its end token."""
    read: dict[str, Any] = _batch(runtime, _heads(runtime, prompts))
    end, past = runtime.tokenizer.eos_token_id, None
    first = getattr(runtime.plain_model.generation_config, "forced_bos_token_id", None)
    step = _starts(runtime, len(prompts))
    made = step[:, :0]
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=runtime.device)
    with torch.inference_mode():
        for number in range(most_tokens):
            answer = model(**read, decoder_input_ids=step, past_key_values=past, use_cache=True)
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
    return [str(text) for text in runtime.tokenizer.batch_decode(made, skip_special_tokens=True)]


def _heads(runtime: Runtime, prompts: Sequence[str]) -> list[list[int]]:
    """Token numbers of each prompt; one too long loses its beginning, never its end: the question stands there."""
    return [ids[-runtime.max_length :] for ids in runtime.tokenizer(list(prompts))["input_ids"]]


def _batch(runtime: Runtime, heads: Sequence[list[int]]) -> dict[str, torch.Tensor]:
    """Padded on the right, as encoders read."""
    width = max(map(len, heads))
    ids = torch.full((len(heads), width), runtime.tokenizer.pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, head in enumerate(heads):
        ids[row, : len(head)], mask[row, : len(head)] = torch.tensor(head), 1
    return {"input_ids": ids.to(runtime.device), "attention_mask": mask.to(runtime.device)}


def _encoded(read: dict[str, Any], answer: Any) -> dict[str, Any]:
    """The same prompts, already read: the decoder goes on from the encoder's vectors."""
    if "encoder_outputs" in read:
        return read
    vectors = BaseModelOutput(last_hidden_state=answer.encoder_last_hidden_state)
    return {"attention_mask": read["attention_mask"], "encoder_outputs": vectors}


def _starts(runtime: Runtime, rows: int) -> torch.Tensor:
    config = runtime.plain_model.config
    start = getattr(config, "decoder_start_token_id", None)
    start = runtime.tokenizer.pad_token_id if start is None else start
    return torch.full((rows, 1), int(start), dtype=torch.long, device=runtime.device)
