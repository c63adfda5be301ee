"""How to teach: every number of a training in one frozen value, with presets. No torch, so pages may import it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from adapters.runtime.prompts import DEFAULT_TEMPLATE
from merges.methods.declaration import is_finite, shown

Method = Literal["lora", "ia3", "bias", "prompt"]


class TrainingFault(ValueError):
    """A training cannot start or had to stop; `curve` keeps what was measured until then."""

    def __init__(self, message: str, curve: tuple[CurvePoint, ...] = ()) -> None:
        super().__init__(message)
        self.curve = curve


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """State after an epoch: mean training loss, and loss and accuracy on validation when there is one (else None).

    `fold` counts from 1 in the trainings that only choose how long to train; 0 is the training that is kept.
    """

    step: int
    epoch: int
    loss: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    fold: int = 0


@dataclass(frozen=True)
class Settings:
    """Numbers of one training; `PRESETS` holds good starting points.

    rank, alpha, rslora and dropout are LoRA's (Hu et al. 2022; rslora: Kalajdzievski 2023), IA3 (Liu et al. 2022) and
    "bias" (after BitFit, Ben Zaken et al. 2022) have none of them; "prompt" (Lester et al. 2021) learns virtual_tokens
    input vectors. base_dropout says whether the base's own dropout is on. Empty target_modules: what peft holds usual
    for the base. The learning rate rises linearly over the share `warmup` of all steps and falls linearly to zero.
    patience counts epochs without a better validation loss (0: never stop early). Without validation examples, `folds`
    trainings on parts of the examples choose the number of epochs (0: train all epochs). warm_head first fits the head
    alone on frozen features (Kumar et al. 2022, LP-FT). evenly: LoRA on an encoder begins where the first token attends
    to all tokens alike in the last layers, where a probe says it helps. max_length is in tokens.
    unlikelihood and length_normalised weigh T-Few's second and third loss (causal bases only), over at most `negatives`
    wrong labels an example.
    steps, when not 0, replaces epochs: as many passes as give that many steps.
    """

    method: Method = "lora"
    rank: int = 8
    alpha: float = 16.0
    rslora: bool = False
    dropout: float = 0.0
    virtual_tokens: int = 16
    base_dropout: bool = False
    target_modules: tuple[str, ...] = ()
    feedforward_modules: tuple[str, ...] = ()
    epochs: int = 6
    steps: int = 0
    batch_size: int = 32
    learning_rate: float = 2e-3
    optimiser: Literal["adamw", "adafactor"] = "adamw"
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip: float = 1.0
    max_length: int = 128
    patience: int = 2
    folds: int = 4
    class_weights: Literal["balanced", "none"] = "balanced"
    warm_head: bool = True
    evenly: bool = True
    unlikelihood: float = 1.0
    length_normalised: float = 1.0
    negatives: int = 15
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
    template: str = DEFAULT_TEMPLATE

    def check(self) -> None:
        """Raise TrainingFault when a number is outside what can be trained."""
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not math.isfinite(value) or not low <= value <= high:
                raise TrainingFault(f"{name} is {value}, but must lie between {low:g} and {high:g}.")
        if self.folds == 1:
            raise TrainingFault("folds is 1, but one part cannot be held back from itself. Use 0, or at least 2.")
        for name in ("method", "optimiser", "class_weights", "precision"):
            known = get_args(_HINTS[name])
            if getattr(self, name) not in known:
                raise TrainingFault(f"There is no {name} {getattr(self, name)!r}. Choose one of {', '.join(known)}.")
        if "{text}" not in self.template:
            raise TrainingFault("The prompt template has no {text}. Say where the text goes.")

    def passes(self, examples: int) -> int:
        """Epochs over this many examples."""
        per_epoch = -(-examples // self.batch_size)
        return max(1, -(-self.steps // per_epoch)) if self.steps else self.epochs

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Settings:
        """Settings from JSON values, checked; absent ones are the preset's of `method`.

        Raises TrainingFault for an unknown name, a wrong type or a number out of range.
        """
        method = raw.get("method", "lora")
        if method not in PRESETS:
            raise TrainingFault(f"There is no method {str(method)[:40]!r}. Choose one of {', '.join(PRESETS)}.")
        values = PRESETS[method].to_dict()
        for name, value in raw.items():
            if name not in values:
                raise TrainingFault(f"There is no setting {str(name)[:40]!r}. Settings are: {', '.join(values)}.")
            if name != "method" or method in get_args(Method):
                values[name] = _typed(name, value)
        made = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
        made.check()
        return made


LIMITS: dict[str, tuple[float, float]] = {
    "rank": (1, 256), "alpha": (1e-6, 1e5), "dropout": (0, 0.9), "virtual_tokens": (1, 512), "epochs": (1, 1000),
    "steps": (0, 100_000), "batch_size": (1, 1024), "learning_rate": (1e-8, 1.0), "weight_decay": (0, 1),
    "warmup": (0, 0.9), "clip": (1e-3, 1e3), "max_length": (4, 8192), "patience": (0, 1000), "folds": (0, 20),
    "unlikelihood": (0, 100), "length_normalised": (0, 100), "negatives": (1, 1000),
    "seed": (0, 2**31 - 1),
}  # fmt: skip
_HINTS = get_type_hints(Settings)
PRESETS: dict[str, Settings] = {
    "lora": Settings(),
    "ia3": Settings(method="ia3", learning_rate=1e-2, epochs=8),
    "bias": Settings(method="bias", learning_rate=1e-2, epochs=8),
    "prompt": Settings(method="prompt", learning_rate=3e-2, epochs=12, warm_head=False, patience=3),
    # Liu et al. 2022, section 3.4: IA3, three losses, Adafactor, 1000 steps of 8 examples, 60 of them warm-up.
    "t-few": Settings(
        method="ia3", optimiser="adafactor", learning_rate=3e-3, weight_decay=0.0, batch_size=8, steps=1000,
        warmup=0.06, patience=0, folds=0,
    ),
}  # fmt: skip
TITLES: dict[str, str] = {
    "lora": "LoRA",
    "ia3": "IA3",
    "bias": "Biases only (after BitFit)",
    "prompt": "Prompt tuning",
    "t-few": "T-Few (IA3, the paper's recipe)",
}


def title_of(settings: Settings) -> str:
    """What a card calls this training: its preset where it is the paper's recipe, else its method."""
    paper = PRESETS["t-few"]
    own = replace(settings, seed=paper.seed, max_length=paper.max_length, template=paper.template)
    return TITLES["t-few" if own == paper else settings.method]


def usual_settings(preset: str, *, causal: bool, examples: int = 0) -> Settings:
    """A preset as it does well on this family of bases and this many examples (0: many).

    Few examples need small batches and more epochs: six steps leave an adapter where it began. Raises TrainingFault for
    an unknown preset.
    """
    if preset not in PRESETS:
        raise TrainingFault(f"There is no method {preset[:40]!r}. Choose one of {', '.join(PRESETS)}.")
    found = PRESETS[preset]
    if preset == "t-few":
        return found
    if causal:
        # Every example of a causal base costs much more, and its labels share one vocabulary: no folds.
        return replace(found, batch_size=8, folds=0, epochs=CAUSAL_EPOCHS, patience=3)
    if found.method == "lora":
        found = replace(found, learning_rate=ENCODER_RATE)
    for most, batch, epochs in FEW:
        if 0 < examples <= most:
            # The rate's decay decides: a loss that rises half way falls again, so no fold is stopped for it.
            epochs = max(epochs, found.epochs)
            return replace(found, batch_size=batch, epochs=epochs, patience=epochs, folds=3)
    return found


CAUSAL_EPOCHS = 8
ENCODER_RATE = 3e-3
FEW = ((24, 4, 16), (48, 4, 8), (128, 8, 8), (384, 16, 6))
"""Up to so many examples: the batch, and epochs at least."""


def _typed(name: str, value: Any) -> Any:
    """The value if it has the field's type. Raises TrainingFault."""
    kind = {field.name: field.type for field in fields(Settings)}[name]
    numeric = isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value)
    fits = {
        "int": numeric and float(value).is_integer(),
        "float": numeric,
        "bool": isinstance(value, bool),
        "tuple[str, ...]": isinstance(value, list | tuple) and all(isinstance(item, str) for item in value),
    }.get(str(kind), isinstance(value, str))
    if not fits:
        raise TrainingFault(f"{name} is {shown(value)}, which is not what it takes ({kind}).")
    return int(value) if kind == "int" else float(value) if kind == "float" else value
