"""What reaches single modules of the bare base: what weights-only routing looks at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch

from adapters.runtime.batching import encode
from adapters.runtime.runtime import Runtime


def module_inputs(
    runtime: Runtime, texts: Sequence[str], modules: Collection[str], *, batch_size: int = 32
) -> dict[str, list[np.ndarray]]:
    """The input of each named module, one (tokens, width) float32 matrix a text, without padding.

    Names the base does not have are left out.
    """
    model, _ = runtime.model()
    known = dict(model.named_modules())
    found: dict[str, list[np.ndarray]] = {module: [] for module in sorted(modules) if module in known}
    taken: dict[str, torch.Tensor] = {}
    hooks = [
        known[module].register_forward_pre_hook(
            lambda _module, inputs, module=module: taken.__setitem__(module, inputs[0].detach())
        )
        for module in found
    ]
    try:
        with torch.inference_mode():
            for start in range(0, len(texts), batch_size):
                batch = encode(runtime.tokenizer, list(texts[start : start + batch_size]), None, runtime.max_length)
                model(**{name: tensor.to(runtime.device) for name, tensor in batch.items()})
                mask = batch["attention_mask"].bool()
                for module, rows in found.items():
                    values = taken[module].float().cpu()
                    rows += [value[kept].numpy() for value, kept in zip(values, mask, strict=True)]
    finally:
        for hook in hooks:
            hook.remove()
    return found
