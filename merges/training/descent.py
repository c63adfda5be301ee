"""Walk down the loss: warm-up and linear decay, early stop, and a stop when the loss is no number."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from adapters.runtime.progress import Progress, silent
from merges.training.checkpoints import Standing, load_optimiser, optimiser_tensors
from merges.training.learners import Learner, bucketed
from merges.training.settings import CurvePoint, Settings, TrainingFault

Watch = Callable[[Standing], None]


@dataclass
class Walk:
    """How one descent is watched: its fold (0: the one that is kept), whether validation decides, and who listens.

    `until` stops after so many epochs although the learning rate is planned for all of them; `begun` says that there is
    something to judge before the first epoch (a head that was fitted): it is a point of the curve, epoch 0, and may be
    the best one; `standing` goes on from a checkpoint; `watch` is told after every epoch.
    """

    validated: bool
    fold: int = 0
    until: int | None = None
    begun: bool = False
    message: str = "Training"
    progress: Progress = silent
    standing: Standing | None = None
    watch: Watch | None = None


def descend(
    model: Any, learner: Learner, settings: Settings, walk: Walk
) -> tuple[tuple[CurvePoint, ...], CurvePoint, int]:
    """Train the model's trainable parameters in place; (curve, point whose weights were kept, steps done).

    With validation the weights of the lowest validation loss are put back at the end, else the last ones stay.
    Raises TrainingFault with the curve so far when the loss stops being a number.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = _optimiser(trained, settings)
    epochs = settings.passes(len(learner.lengths))
    total = -(-len(learner.lengths) // settings.batch_size) * epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _rate(total, settings.warmup))
    chance = random.Random(settings.seed)  # noqa: S311 - an order, not a secret
    at = walk.standing or Standing()
    if walk.standing is not None:
        _go_on(at, trained, optimiser, schedule, chance)
    precise = _precision(model, settings)
    if walk.begun and not at.curve:
        _judge_the_start(model, learner, settings, walk, precise, at)
        at.kept = [parameter.detach().clone() for parameter in trained]
    for epoch in range(at.epoch + 1, (epochs if walk.until is None else walk.until) + 1):
        _training_mode(model, settings)
        losses = []
        for rows in bucketed(learner.lengths, settings.batch_size, chance):
            optimiser.zero_grad(set_to_none=True)
            losses.append(_back(learner, rows, precise, at))
            torch.nn.utils.clip_grad_norm_(trained, settings.clip)
            optimiser.step()
            schedule.step()
            at.step += 1
            walk.progress(at.step, total, _note(walk, at, epoch, epochs, losses[-1]))
        with precise():
            score, share = _validated(learner, walk, at)
        point = CurvePoint(at.step, epoch, sum(losses) / len(losses), score, share, walk.fold)
        at.curve.append(point)
        at.epoch = epoch
        if at.best is None or _better(point, at.best):
            at.best, at.kept = point, [parameter.detach().clone() for parameter in trained]
        elif settings.patience and epoch - at.best.epoch >= settings.patience:
            break
        if walk.watch is not None:
            walk.watch(_remembered(at, trained, optimiser, chance))
    assert at.best is not None
    with torch.no_grad():
        for parameter, value in zip(trained, at.kept, strict=True):
            parameter.copy_(value)
    return tuple(at.curve), at.best, at.step


def _judge_the_start(
    model: Any,
    learner: Learner,
    settings: Settings,
    walk: Walk,
    precise: Callable[[], AbstractContextManager[Any]],
    at: Standing,
) -> None:
    """The point before the first epoch; its loss is that of the examples as they are, its weights are the best yet."""
    rows = range(len(learner.lengths))
    model.eval()
    with precise(), torch.no_grad():
        losses = [
            float(learner.loss(rows[start : start + settings.batch_size])) for start in rows[:: settings.batch_size]
        ]
        loss = _number(sum(losses) / len(losses), at)
        score, share = _validated(learner, walk, at)
    at.best = CurvePoint(0, 0, loss, score, share, walk.fold)
    at.curve.append(at.best)


def _validated(learner: Learner, walk: Walk, at: Standing) -> tuple[float | None, float | None]:
    """(loss, share right) on validation, if it decides. Raises TrainingFault when the loss is no number."""
    if not walk.validated:
        return None, None
    loss, share = learner.validate()
    return _number(loss, at, "validation loss"), share


def _back(learner: Learner, rows: list[int], precise: Callable[[], AbstractContextManager[Any]], at: Standing) -> float:
    """Add the gradients of the batch, part by part; its mean loss. Raises TrainingFault when that is no number."""
    whole = 0.0
    for part in learner.parts(rows):
        with precise():
            loss = learner.loss(part) * (len(part) / len(rows))
        whole += _number(float(loss.detach()), at)
        loss.backward()
    return whole


def _optimiser(trained: list[torch.nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    if settings.optimiser == "adafactor":
        return torch.optim.Adafactor(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _rate(total: int, warmup: float) -> Callable[[int], float]:
    """Share of the learning rate at a step: up over the first `warmup` of all steps, then down to zero, linearly."""
    warm = max(1, round(total * warmup))
    return lambda step: min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))


def _precision(model: Any, settings: Settings) -> Callable[[], AbstractContextManager[Any]]:
    """bfloat16 where asked for, or where "auto" finds a CUDA device that has it; float32 on CPU, to be repeatable."""
    device = next(model.parameters()).device
    wanted = settings.precision == "bfloat16" or (
        settings.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    if not wanted:
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def _go_on(
    at: Standing, trained: list[torch.nn.Parameter], optimiser: torch.optim.Optimizer, schedule: Any, chance: Any
) -> None:
    with torch.no_grad():
        for parameter, value in zip(trained, at.trained, strict=True):
            parameter.copy_(value)
    at.kept = [value.to(trained[0].device) for value in at.kept]
    load_optimiser(optimiser, at.optimiser)
    schedule.last_epoch = at.step - 1
    optimiser._step_count = at.step  # the schedule warns when it steps before its optimiser did
    schedule.step()
    chance.setstate(at.order)
    if at.generator is not None:
        torch.set_rng_state(at.generator)


def _remembered(at: Standing, trained: list[Any], optimiser: torch.optim.Optimizer, chance: Any) -> Standing:
    return replace(
        at, trained=[parameter.detach() for parameter in trained], optimiser=optimiser_tensors(optimiser),
        order=chance.getstate(), generator=torch.get_rng_state(),
    )  # fmt: skip


def _note(walk: Walk, at: Standing, epoch: int, epochs: int, loss: float) -> str:
    known = ""
    if at.curve and at.curve[-1].validation_accuracy is not None:
        known = f", validation accuracy {at.curve[-1].validation_accuracy:.3f}"
    return f"{walk.message}{known}, epoch {epoch} of {epochs}, loss {loss:.3f}"


def _training_mode(model: Any, settings: Settings) -> None:
    model.train(settings.base_dropout)
    for name, module in model.named_modules():
        if name.endswith("lora_dropout.default"):
            module.train()


def _better(point: CurvePoint, best: CurvePoint) -> bool:
    if point.validation_loss is None or best.validation_loss is None:
        return True
    return point.validation_loss < best.validation_loss


def _number(value: float, at: Standing, what: str = "loss") -> float:
    """The value. Raises TrainingFault with the curve so far when it is not finite."""
    if math.isfinite(value):
        return value
    if not at.step:
        raise TrainingFault(
            f"The {what} was {value} before anything was trained: the base, or what it begins from, gives no numbers."
        )
    raise TrainingFault(
        f"The {what} was {value} at step {at.step + 1}, so training stopped. Try a lower learning rate.",
        tuple(at.curve),
    )
