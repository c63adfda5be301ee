"""Before an encoder is taught: its first token learns to hold what the mean of its tokens says.

Sentence encoders are trained so that the mean over a text's tokens holds its meaning, but the classifiers of their
architectures read the first token (for all-MiniLM-L6-v2 a probe there is 14 points of accuracy behind one on the mean).
So the adapter is first trained, without any label, to bring the one to the other: on the examples' texts and pieces of
them, with the frozen base as teacher (distillation, Hinton et al. 2015).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from adapters.runtime.examples import Example
from adapters.runtime.linear import fit_linear
from adapters.runtime.progress import Progress, silent
from adapters.runtime.runtime import second_texts
from merges.training.folds import stratified, usable_folds

READS_FIRST = frozenset(
    {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"}
)
"""Architectures (model_type) whose classifier reads the first token."""
BATCH = 32
SAVED = "modules_to_save"
LEARNING_RATE = 5e-3
MESSAGE = "Bringing each text's meaning to the token the head reads"
Encode = Callable[[Sequence[str], Sequence[str] | None], dict[str, torch.Tensor]]


def body_of(model: Any) -> Any:
    """The encoder without its head."""
    return (model.get_base_model() if hasattr(model, "peft_config") else model).base_model


def reads_first(model: Any, method: str) -> bool:
    """Whether gathering can do anything here: the head reads the first token, and LoRA can move it (IA3 cannot)."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    return method == "lora" and getattr(inner.config, "model_type", "") in READS_FIRST


def mean_is_better(model: Any, plain: Any, encode: Encode, rows: Sequence[Example], labels: Sequence[str]) -> bool:
    """Whether a probe on the base's mean finds more held-back labels than one on the adapted model's first token.

    Yes where there are too few examples to hold any back: the mean of any encoder says more than its first token.
    """
    count = usable_folds([row.label for row in rows], 4)
    if not count:
        return True
    targets = np.array([list(labels).index(row.label) for row in rows])
    parts = stratified([row.label for row in rows], count, 0)
    right = []
    for source, pool in ((plain, _mean), (model, _first)):
        features = _read(body_of(source), encode, rows, pool)
        found = 0
        for part in parts:
            taught = np.setdiff1d(np.arange(len(rows)), part)
            matrix, bias = fit_linear(features[taught], targets[taught].tolist(), len(labels), strength=10.0)
            found += int(((features[part] @ matrix.T + bias).argmax(1) == targets[part]).sum())
        right.append(found)
    return right[0] > right[1]


def gather(
    model: Any,
    plain: Any,
    encode: Encode,
    rows: Sequence[Example],
    *,
    steps: int,
    seed: int,
    progress: Progress = silent,
) -> list[float]:
    """Train the adapter of `model` so that its first token's last vector is the mean of those of `plain`.

    Returns the loss of each step: |first - mean|^2 over |mean|^2, both means over the batch. The head stays.
    """
    trained = [value for name, value in model.named_parameters() if value.requires_grad and SAVED not in name]
    warm = max(1, steps // 10)
    optimiser = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
    chance = random.Random(seed)  # noqa: S311 - which pieces, not a secret
    student, teacher = body_of(model.eval()), body_of(plain)
    pairs = second_texts([row.text_pair for row in rows])
    losses = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min((step + 1) / warm, (steps - step) / max(1, steps - warm))
        drawn = chance.choices(range(len(rows)), k=BATCH)
        batch = encode([piece(rows[row].text, chance) for row in drawn], pairs and [pairs[row] for row in drawn])
        with torch.no_grad():
            wanted = _mean(teacher(**batch).last_hidden_state, batch)
        found = student(**batch).last_hidden_state[:, 0]
        loss = (found - wanted).pow(2).sum(1).mean() / wanted.pow(2).sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        progress(step + 1, steps, f"{MESSAGE}, {losses[-1]:.2f} apart")
    return losses


def piece(text: str, chance: random.Random) -> str:
    """The text, or (four times in five) a run of at least a third of its words; of its letters where it has few words.

    Pieces make many different texts out of few.
    """
    words = text.split()
    between = " "
    if len(words) < 4 < len(text):
        words, between = list(text), ""
    if len(words) < 3 or chance.random() < 0.2:
        return text
    size = chance.randint(max(2, len(words) // 3), len(words))
    start = chance.randint(0, len(words) - size)
    return between.join(words[start : start + size])


def _mean(hidden: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    mask = batch["attention_mask"].unsqueeze(2).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)


def _first(hidden: torch.Tensor, _batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return hidden[:, 0]


def _read(body: Any, encode: Encode, rows: Sequence[Example], pool: Any) -> np.ndarray:
    pairs = second_texts([row.text_pair for row in rows])
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            batch = encode([row.text for row in some], pairs and pairs[start : start + BATCH])
            pooled = pool(body(**batch).last_hidden_state, batch)
            found.append(torch.nn.functional.normalize(pooled, dim=1).cpu().double().numpy())
    return np.concatenate(found)
