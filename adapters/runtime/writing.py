"""What a language model writes after a prompt, and how surely it predicts given texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.progress import Progress, silent
from adapters.runtime.runtime import Runtime


def write_on(
    runtime: Runtime,
    prompts: Sequence[str],
    *,
    adapter: str | None = None,
    most_tokens: int = 32,
    batch_size: int = 16,
    progress: Progress = silent,
) -> list[str]:
    """The greedy continuation of each prompt up to the end token, a line break, or `most_tokens`.

    Greedy, so the same weights always write the same. Raises RuntimeFault for a base that does not continue texts.
    """
    if runtime.task != "generate":
        raise RuntimeFault("This base reads texts and writes none. Judge it by its head instead.")
    greedy = (
        runtime.encoder_decoder(adapter).greedy
        if runtime.family == "seq2seq"
        else partial(_greedy, runtime, runtime.model_of(adapter))
    )
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    written = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        texts = [prompts[index] for index in part]
        for index, text in zip(part, greedy(texts, most_tokens), strict=True):
            written[index] = text.split("\n")[0].strip()
        progress(min(start + batch_size, len(order)), len(order), "Writing")
    return written


def _greedy(runtime: Runtime, model: Any, prompts: list[str], most_tokens: int) -> list[str]:
    tokenizer, room = runtime.tokenizer, runtime.max_length - most_tokens
    rows = [row[-max(room, 1) :] for row in tokenizer(prompts, add_special_tokens=True)["input_ids"]]
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, width - len(row) :], mask[number, width - len(row) :] = torch.tensor(row), 1
    ids, mask = ids.to(runtime.device), mask.to(runtime.device)
    end = tokenizer.eos_token_id
    made = torch.zeros((len(rows), 0), dtype=torch.long, device=runtime.device)
    ended = torch.zeros(len(rows), dtype=torch.bool, device=runtime.device)
    step, past = ids, None
    with torch.inference_mode():
        for _ in range(most_tokens):
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -step.shape[1] :]
            answer = model(
                input_ids=step, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True
            )
            past, chosen = answer.past_key_values, answer.logits[:, -1].argmax(-1)
            if end is not None:
                chosen = torch.where(ended, torch.full_like(chosen, end), chosen)
                ended = ended | (chosen == end)
            made = torch.cat([made, chosen[:, None]], 1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            step = chosen[:, None]
            if bool(ended.all()):
                break
    return [str(text) for text in tokenizer.batch_decode(made, skip_special_tokens=True)]


def retention(
    runtime: Runtime, texts: Sequence[str], adapter: str, *, batch_size: int = 8, progress: Progress = silent
) -> dict[str, float]:
    """How much of the base an adapter keeps on texts: perplexities of both, their ratio, and KL(base‖adapter).

    Perplexity is exp of the mean negative log-likelihood for each token; KL is the mean over positions, in nats.
    Raises RuntimeFault for a base that does not continue texts, or when no text has two tokens.
    """
    if runtime.task != "generate":
        raise RuntimeFault("Retention is measured on language models; this base reads texts and writes none.")
    if runtime.family == "seq2seq":
        raise RuntimeFault(
            "Retention is measured on models that continue texts; this base has an encoder and a decoder."
        )
    ready = runtime.prepare(texts, batch_size=batch_size)
    losses, divergence, count, done = torch.zeros(2, dtype=torch.float64), 0.0, 0, 0
    with torch.inference_mode():
        for part, batch in zip(ready.rows, ready.tensors, strict=True):
            ids, mask = batch["input_ids"].to(runtime.device), batch["attention_mask"].to(runtime.device)
            said = []
            for name in (None, adapter):
                logits = runtime.model_of(name)(input_ids=ids, attention_mask=mask, use_cache=False).logits
                said.append(torch.log_softmax(logits[:, :-1].float(), -1))
            known = (mask[:, 1:] * mask[:, :-1]).bool()
            for number, logs in enumerate(said):
                losses[number] -= logs.gather(2, ids[:, 1:, None]).squeeze(2)[known].double().sum().cpu()
            gap = (said[0].exp() * (said[0] - said[1])).sum(-1)
            divergence, count, done = (
                divergence + float(gap[known].double().sum()),
                count + int(known.sum()),
                done + len(part),
            )
            progress(done, ready.count, "Measuring retention")
    if not count:
        raise RuntimeFault("None of the texts has two tokens.")
    base, adapted = (float(value) for value in (losses / count).exp())
    return {
        "perplexity_base": base,
        "perplexity": adapted,
        "perplexity_ratio": adapted / base,
        "kl": divergence / count,
    }
