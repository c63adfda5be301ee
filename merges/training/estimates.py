"""What a training will cost before it starts: plain arithmetic on sizes, no torch, so a page may ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from merges.training.settings import Settings

FLOPS_PER_SECOND = 6.0e10
"""float32 work one CPU core does in models of this kind, used until a hub has measured its own.

Of eight tasks with SmolLM2-135M and 32 examples and two with MiniLM and 64, the estimate was between 0.7 and 1.5
times the processor seconds it took."""
LIBRARIES = 450 * 2**20
"""Resident bytes of a worker with torch, transformers and peft loaded and nothing else."""
LETTERS_PER_TOKEN = 4.0


@dataclass(frozen=True)
class BaseSize:
    """What costs are worked out from: sizes of a base, from its configuration and its weights' headers."""

    parameters: int
    hidden: int
    layers: int
    vocabulary: int
    causal: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], parameters: int, *, causal: bool) -> BaseSize:
        """From config.json (transformers' names); what it does not say is guessed from the number of parameters."""

        def number(names: tuple[str, ...], guess: int) -> int:
            value = next((config[name] for name in names if isinstance(config.get(name), int)), guess)
            return max(1, int(value))

        return cls(
            parameters=max(1, parameters),
            hidden=number(("hidden_size", "n_embd", "d_model", "dim"), 512),
            layers=number(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 12),
            vocabulary=number(("vocab_size",), 32_000),
            causal=causal,
        )

    @property
    def worked(self) -> int:
        """Parameters that do arithmetic for every token: all but the embedding table."""
        return max(self.parameters - self.vocabulary * self.hidden, self.parameters // 8)


@dataclass(frozen=True)
class Estimate:
    """Seconds on one core, highest resident bytes, steps, and floating-point operations of a training."""

    seconds: float
    memory: int
    steps: int
    flops: float


def estimate(
    base: BaseSize,
    settings: Settings,
    *,
    examples: int,
    letters: float,
    labels: int,
    label_letters: float = 8.0,
    validation: int = 0,
    folds: int = 0,
    speed: float = FLOPS_PER_SECOND,
) -> Estimate:
    """Cost of teaching `examples` texts of `letters` letters on the mean with these settings.

    A forward pass is 2 operations for each parameter and token; a training step adds the backward pass through the
    activations (2 more: the base's own weights get no gradient) and the vocabulary for every label token.
    """
    text = min(settings.max_length, letters / LETTERS_PER_TOKEN + (6 if base.causal else 2))
    offered = min(labels, settings.negatives + 1) if base.causal else 0
    tail = offered * (label_letters / LETTERS_PER_TOKEN + 1) if base.causal else 0.0
    virtual = settings.virtual_tokens if settings.method == "prompt" else 0
    tokens = text + tail + virtual
    forward = 2 * (base.worked * tokens + (tail + 1) * base.vocabulary * base.hidden * base.causal)
    epochs = settings.passes(max(1, examples))
    kept = epochs * examples * 2 * forward + epochs * validation * forward
    parts = folds * (examples * (folds - 1) / folds) if folds else 0.0
    chosen = epochs * (parts * 2 * forward + examples * forward) if folds else 0.0
    head = examples * forward if settings.warm_head and not base.causal else 0.0
    head += examples * forward * 4 if settings.evenly and settings.method == "lora" and not base.causal else 0.0
    steps = epochs * -(-examples // settings.batch_size)
    flops = kept + chosen + head
    batch = min(settings.batch_size, max(1, examples))
    activations = batch * tokens * base.layers * base.hidden * 4 * (34 if base.causal else 22)
    logits = batch * (tail + 1) * base.vocabulary * 4 * 3 if base.causal else 0.0
    memory = LIBRARIES + base.parameters * 4 * 1.1 + activations + logits
    return Estimate(flops / speed + 4.0 + base.parameters / 2e8, round(memory), steps, flops)
