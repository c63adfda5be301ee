"""How to teach: every number of a training in one frozen value, with presets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from adapters.runtime.likelihood import DEFAULT_TEMPLATE


class TrainingFault(ValueError):
    """A training cannot start or had to stop; `curve` keeps what was measured until then."""

    def __init__(self, message: str, curve: tuple[CurvePoint, ...] = ()) -> None:
        super().__init__(message)
        self.curve = curve


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """State after an epoch: mean training loss, and loss and accuracy on validation when there is one (else None)."""

    step: int
    epoch: int
    loss: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class Settings:
    """Numbers of one training; `PRESETS` holds good starting points.

    rank, alpha, rslora and dropout are LoRA's (Hu et al. 2022; rslora: Kalajdzievski 2023), IA3 (Liu et al. 2022) has
    none of them; base_dropout says whether the base's own dropout is on. Empty target_modules: what peft holds usual
    for the base. The learning rate rises linearly over the share `warmup` of all steps and falls linearly to zero.
    patience counts epochs without a better validation loss (0: never stop early). warm_head first fits the head alone
    on frozen features (Kumar et al. 2022, LP-FT). max_length is in tokens.
    """

    method: Literal["lora", "ia3"] = "lora"
    rank: int = 8
    alpha: float = 16.0
    rslora: bool = False
    dropout: float = 0.0
    base_dropout: bool = False
    target_modules: tuple[str, ...] = ()
    feedforward_modules: tuple[str, ...] = ()
    epochs: int = 6
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip: float = 1.0
    max_length: int = 128
    patience: int = 2
    class_weights: Literal["balanced", "none"] = "balanced"
    warm_head: bool = True
    seed: int = 0
    template: str = DEFAULT_TEMPLATE

    def check(self) -> None:
        """Raise TrainingFault when a number is outside what can be trained."""
        limits: dict[str, tuple[float, float]] = {
            "rank": (1, 256), "alpha": (1e-6, 1e5), "dropout": (0, 0.9), "epochs": (1, 1000), "batch_size": (1, 1024),
            "learning_rate": (1e-8, 1.0), "weight_decay": (0, 1), "warmup": (0, 0.9), "clip": (1e-3, 1e3),
            "max_length": (4, 8192), "patience": (0, 1000),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not math.isfinite(value) or not low <= value <= high:
                raise TrainingFault(f"{name} is {value}, but must lie between {low:g} and {high:g}.")
        if self.method not in PRESETS:
            raise TrainingFault(f"There is no method {self.method!r}. Choose one of {', '.join(PRESETS)}.")
        if "{text}" not in self.template:
            raise TrainingFault("The prompt template has no {text}. Say where the text goes.")


PRESETS: dict[str, Settings] = {
    "lora": Settings(),
    "ia3": Settings(method="ia3", learning_rate=1e-2, epochs=8),
}
