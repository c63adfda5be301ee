"""Walk down the loss: AdamW, warm-up and linear decay, early stop, and a stop when the loss is no number."""

from __future__ import annotations

import random
from typing import Any

import torch

from adapters.runtime.runtime import Progress
from merges.training.learners import Learner, bucketed
from merges.training.settings import CurvePoint, Settings, TrainingFault


def descend(
    model: Any, learner: Learner, settings: Settings, validated: bool, progress: Progress
) -> tuple[tuple[CurvePoint, ...], CurvePoint, int]:
    """Train the model's trainable parameters in place; (curve, point whose weights were kept, steps done).

    With validation the weights of the lowest validation loss are put back at the end, else the last ones stay.
    Raises TrainingFault with the curve so far when the loss stops being a number.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    total = -(-len(learner.lengths) // settings.batch_size) * settings.epochs
    warm = max(1, round(total * settings.warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))
    )
    chance = random.Random(settings.seed)  # noqa: S311 - an order, not a secret
    curve: list[CurvePoint] = []
    best, kept, step, message = None, list[torch.Tensor](), 0, "Training"
    for epoch in range(1, settings.epochs + 1):
        _training_mode(model, settings)
        losses = []
        for rows in bucketed(learner.lengths, settings.batch_size, chance):
            loss = learner.loss(rows)
            losses.append(_finite(loss, step, curve))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, settings.clip)
            optimiser.step()
            schedule.step()
            step += 1
            progress(step, total, f"{message}, epoch {epoch} of {settings.epochs}, loss {losses[-1]:.3f}")
        point = CurvePoint(step, epoch, sum(losses) / len(losses), *(learner.validate() if validated else (None, None)))
        curve.append(point)
        if point.validation_accuracy is not None:
            message = f"Training, validation accuracy {point.validation_accuracy:.3f}"
        if best is None or _better(point, best):
            best, kept = point, [parameter.detach().clone() for parameter in trained]
        elif settings.patience and epoch - best.epoch >= settings.patience:
            break
    assert best is not None
    with torch.no_grad():
        for parameter, value in zip(trained, kept, strict=True):
            parameter.copy_(value)
    return tuple(curve), best, step


def _training_mode(model: Any, settings: Settings) -> None:
    model.train(settings.base_dropout)
    for name, module in model.named_modules():
        if name.endswith("lora_dropout.default"):
            module.train()


def _better(point: CurvePoint, best: CurvePoint) -> bool:
    if point.validation_loss is None or best.validation_loss is None:
        return True
    return point.validation_loss < best.validation_loss


def _finite(loss: torch.Tensor, step: int, curve: list[CurvePoint]) -> float:
    value = float(loss.detach())
    if not torch.isfinite(loss.detach()):
        raise TrainingFault(
            f"The loss was {value} at step {step + 1}, so training stopped. Try a lower learning rate.", tuple(curve)
        )
    return value
