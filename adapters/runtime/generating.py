"""A causal base or adapter continues a conversation, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.runtime import Runtime

MOST_TOKENS = 1024


def prompt_ids(runtime: Runtime, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token numbers of a conversation, by the base's own chat template, else its texts line by line."""
    tokenizer = runtime.tokenizer
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer("\n".join(message["content"] for message in messages))["input_ids"]
    return list(ids)


def generate(
    runtime: Runtime,
    messages: Sequence[Mapping[str, str]],
    *,
    adapter: str | None = None,
    most: int = 128,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[tuple[str, str | None]]:
    """Yield (new text, None) as it comes and at the end ("", why): "stop" at an end token, else "length".

    Greedy at temperature 0; equal seeds give equal answers on CPU. Raises RuntimeFault for a base that does not
    continue texts or a prompt longer than the base reads.
    """
    if runtime.task != "generate":
        raise RuntimeFault("This base does not continue texts. Ask a specialist of a causal language model.")
    if runtime.family == "seq2seq":
        yield from _at_once(runtime, messages, adapter, min(most, MOST_TOKENS))
        return
    ids = prompt_ids(runtime, messages)
    longest = int(getattr(runtime.model()[0].config, "max_position_embeddings", 2048) or 2048)
    if not ids or len(ids) >= longest:
        raise RuntimeFault(f"The conversation has {len(ids)} tokens; the base reads between 1 and {longest - 1}.")
    model, replaced = runtime.model(adapter)
    if replaced:
        raise RuntimeFault("This adapter replaces whole parameters, so it cannot continue texts here yet.")
    ends = _ends(runtime, model)
    chance = torch.Generator(device="cpu").manual_seed(seed)
    made: list[int] = []
    shown = ""
    past: Any = None
    step = torch.tensor([ids], device=runtime.device)
    for _ in range(min(most, MOST_TOKENS, longest - len(ids))):
        with torch.inference_mode():
            output = model(input_ids=step, past_key_values=past, use_cache=True)
        past = output.past_key_values
        token = _choose(output.logits[0, -1].float().cpu(), temperature, top_p, chance)
        if token in ends:
            yield "", "stop"
            return
        made.append(token)
        text = runtime.tokenizer.decode(made, skip_special_tokens=True)
        if not text.endswith("\ufffd") and len(text) > len(shown):
            yield text[len(shown) :], None
            shown = text
        step = torch.tensor([[token]], device=runtime.device)
    yield "", "length"


def _at_once(
    runtime: Runtime, messages: Sequence[Mapping[str, str]], adapter: str | None, most: int
) -> Iterator[tuple[str, str | None]]:
    """An encoder-decoder answers the last message, greedily and in one piece: it was made for one text in, one out."""
    asked = messages[-1]["content"] if messages else ""
    if not asked.strip():
        raise RuntimeFault("There is nothing to answer.")
    yield runtime.encoder_decoder(adapter).greedy([asked], most)[0], None
    yield "", "stop"


def _choose(logits: torch.Tensor, temperature: float, top_p: float, chance: torch.Generator) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    shares, order = torch.softmax(logits / temperature, dim=0).sort(descending=True)
    kept = shares.cumsum(0) - shares < top_p
    kept[0] = True
    return int(order[torch.multinomial(shares * kept, 1, generator=chance)])


def _ends(runtime: Runtime, model: Any) -> set[int]:
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = set(named if isinstance(named, list) else [named]) | {runtime.tokenizer.eos_token_id}
    return {int(token) for token in found if token is not None}
