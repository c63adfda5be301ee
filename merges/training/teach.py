"""Teach a specialist: examples in, adapter files and a curve out."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from adapters.runtime.bases import longest_input
from adapters.runtime.examples import Example
from adapters.runtime.progress import Progress, silent
from adapters.runtime.quiet import choose_device, quiet_and_offline
from merges.training import folds as fold
from merges.training.attending import attend_evenly
from merges.training.checkpoints import Checkpoint, Standing, identity, read_checkpoint
from merges.training.descent import Walk, descend
from merges.training.heads import HeadLearner
from merges.training.learners import Learner
from merges.training.likelihoods import LikelihoodLearner
from merges.training.loaded import LoadedBase
from merges.training.placing import adapter_config, placed, start_settings, trained_head, write_adapter
from merges.training.settings import CurvePoint, Settings, TrainingFault

Watch = Callable[[Sequence[CurvePoint], Callable[[], bytes]], None]
NO_MEMORY = ("not enough memory", "can't allocate memory", "bad_alloc", "could not create a memory", "out of memory")


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave: its curve, what it cost and which files it wrote.

    `seconds` is wall time without loading libraries (all attempts together); `peak_memory` is the process's highest
    resident size in bytes, `device_memory` that of a CUDA device; `best` is the point of the curve whose weights were
    kept. `fold_curves` are the trainings that chose how long to train, `held_back` (right, n) their score on examples
    that they had not seen. `settings` are those in the end: the batch may have been made smaller for lack of memory.
    `evened` counts the layers in which the token that the head reads was made to attend evenly before it all.
    """

    curve: tuple[CurvePoint, ...]
    best: CurvePoint
    labels: tuple[str, ...]
    n: int
    steps: int
    seconds: float
    peak_memory: int
    trainable: int
    share: float
    device: str
    stopped_early: bool
    files: tuple[str, ...]
    settings: Settings
    device_memory: int = 0
    fold_curves: tuple[tuple[CurvePoint, ...], ...] = ()
    held_back: tuple[int, int] | None = None
    resumed: bool = False
    evened: int = 0

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """The folds' points, then those of the training that was kept."""
        return (*(point for curve in self.fold_curves for point in curve), *self.curve)


def teach(
    base: Path | LoadedBase,
    examples: Sequence[Example],
    settings: Settings,
    output: Path,
    progress: Progress = silent,
    *,
    validation: Sequence[Example] = (),
    labels: Sequence[str] | None = None,
    base_name: str = "",
    start: Path | None = None,
    seen: bool = False,
    device: str | None = None,
    threads: int = 1,
    checkpoint: bytes | None = None,
    watch: Watch | None = None,
) -> TrainingResult:
    """Train an adapter for `base` on `examples` and write it to `output` (adapter_config.json, weights, labels.json).

    An encoder gets a sequence-classification head, a causal language model learns to continue with the label. `labels`
    fixes the order of the outputs (default: sorted); `base_name` (owner/name) is recorded as the base; `start` is an
    adapter folder to begin from instead of nothing, and `seen` says that it was taught on some of the examples or of
    `validation` before: then none of them can judge it, so all epochs are trained and no score is given. Else the epoch
    of the lowest validation loss is kept where there is `validation`, and k-fold chooses how many epochs to train where
    there is none. `progress` is called after every step; what it raises ends the training with nothing written. `watch`
    gets the curve after every epoch and a function that makes a checkpoint; with `checkpoint` an interrupted training
    goes on where it was. When memory runs out the batch is halved once. On CPU equal inputs and seed give equal files.
    Raises TrainingFault or RuntimeFault.
    """
    settings.check()
    order = check_examples(examples, validation, labels)
    torch.set_num_threads(threads)
    loaded = base if isinstance(base, LoadedBase) else LoadedBase(base)
    chosen = start_settings(settings, start) if start is not None else settings
    if seen:
        chosen, validation = replace(chosen, folds=0), ()
    of = identity(chosen, examples, validation, order, f"{base_name} {start.name if start else ''}")
    at = read_checkpoint(checkpoint, of) or Checkpoint(of, chosen.batch_size)
    job = _Training(loaded, list(examples), list(validation), order, start, choose_device(device), progress, watch, at)
    job.resumed = bool(at.folds or at.standing)
    chosen = replace(chosen, batch_size=at.batch_size)
    try:
        return job.run(chosen, output, base_name)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        if chosen.batch_size < 2 or chosen.batch_size < settings.batch_size:
            raise TrainingFault(_no_room(chosen.batch_size), _curve_of(at)) from error
    gc.collect()  # what failed half way is held by cycles, and is needed now
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    smaller = replace(chosen, batch_size=chosen.batch_size // 2)
    at.batch_size, at.standing, at.folds = smaller.batch_size, None, []
    try:
        return job.run(smaller, output, base_name)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise TrainingFault(_no_room(smaller.batch_size), _curve_of(at)) from error


class _Training:
    """One call of `teach`: the same examples on the same base, for the folds and for the training that is kept."""

    def __init__(
        self,
        loaded: LoadedBase,
        examples: list[Example],
        validation: list[Example],
        labels: list[str],
        start: Path | None,
        device: torch.device,
        progress: Progress,
        watch: Watch | None,
        at: Checkpoint,
    ) -> None:
        self.loaded, self.examples, self.validation, self.labels = loaded, examples, validation, labels
        self.start, self.device, self.progress, self.watch, self.at = start, device, progress, watch, at
        self.resumed = self.begun = False
        self._started = time.perf_counter()
        self._before = at.seconds
        self._even: dict[str, torch.Tensor] | None = None

    def run(self, settings: Settings, output: Path, base_name: str) -> TrainingResult:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), quiet_and_offline():
            until, held_back = self._length(settings)
            model, learner, limited, config, total = self._made(settings, self.examples, self.validation)
            walk = Walk(
                validated=bool(self.validation), until=until, begun=self.begun, progress=self.progress,
                standing=self.at.standing, watch=self._watched,
            )  # fmt: skip
            curve, best, steps = self._descend(model, learner, limited, walk)
        files = write_adapter(model, config, self.labels, output, base_name)
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        return TrainingResult(
            curve, best, tuple(self.labels), len(self.examples), steps, self.seconds, peak_memory(), trainable,
            trainable / total, str(self.device), curve[-1].epoch < settings.passes(len(self.examples)), files, settings,
            device_memory=torch.cuda.max_memory_allocated(self.device) if devices else 0,
            fold_curves=tuple(tuple(part) for part in self.at.folds), held_back=held_back, resumed=self.resumed,
            evened=self.at.evened,
        )  # fmt: skip

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def _length(self, settings: Settings) -> tuple[int | None, tuple[int, int] | None]:
        """(epochs to train or None for all, (right, n) on held-back examples): k-fold where there is no validation."""
        if self.validation or not settings.patience:
            return None, None
        texts = [example.label for example in self.examples]
        count = fold.usable_folds(texts, settings.folds)
        if not count:
            return None, None
        parts = fold.stratified(texts, count, settings.seed)
        for number in range(len(self.at.folds), len(parts)):
            taught, back = fold.parted(self.examples, parts[number])
            model, learner, limited, _, _ = self._made(settings, taught, back)
            walk = Walk(
                validated=True, fold=number + 1, message=f"Choosing how long to train, part {number + 1} of {count}",
                begun=self.begun, progress=self.progress, standing=self.at.standing, watch=self._watched,
            )  # fmt: skip
            curve, _, _ = self._descend(model, learner, limited, walk)
            self.at.folds.append(list(curve))
            self.at.standing = None
            self._watched(None)
        sizes = [len(part) for part in parts]
        most = settings.passes(len(self.examples))
        epochs = min(most, fold.best_length(self.at.folds, sizes, most))
        return epochs, (fold.right_in_folds(self.at.folds, sizes, epochs), len(self.examples))

    def _made(
        self, settings: Settings, taught: Sequence[Example], back: Sequence[Example]
    ) -> tuple[Any, Learner, Settings, Any, int]:
        """A model with a fresh adapter, and what it learns; equal for equal seeds whatever was trained before."""
        torch.manual_seed(settings.seed)
        plain = self.loaded.model(len(self.labels))
        total = sum(parameter.numel() for parameter in plain.parameters())
        config = adapter_config(plain, settings, causal=self.loaded.causal)
        model = placed(plain, config, settings, self.start).to(self.device)
        limited = replace(settings, max_length=longest_input(plain, settings.max_length))
        arguments = (model, self.loaded.tokenizer, taught, back, self.labels, limited, self.device)
        if self.loaded.causal:
            return model, LikelihoodLearner(*arguments), limited, config, total
        learner = HeadLearner(*arguments)
        head = trained_head(model)
        if self.at.standing is None:
            self._attend_evenly(model, learner, settings)
            if settings.warm_head and head is not None:
                learner.warm_up_head(head)
                self.begun = True
        return model, learner, limited, config, total

    def _attend_evenly(self, model: Any, learner: HeadLearner, settings: Settings) -> None:
        """Let the adapter begin where the token that the head reads hears all tokens alike, if that helps.

        Done once on the texts of all examples and handed to every fold.
        """
        if not settings.evenly or settings.method != "lora":
            return
        own = {name: value for name, value in model.named_parameters() if ".lora_" in name}
        if self._even is None:
            self.at.evened = attend_evenly(model, learner.encode, self.examples, self.labels)
            self._even = {name: value.detach().clone() for name, value in own.items()} if self.at.evened else {}
        with torch.no_grad():
            for name, value in self._even.items():
                own[name].copy_(value)

    def _descend(
        self, model: Any, learner: Learner, settings: Settings, walk: Walk
    ) -> tuple[tuple[CurvePoint, ...], CurvePoint, int]:
        try:
            return descend(model, learner, settings, walk)
        except TrainingFault as fault:
            earlier = [point for curve in self.at.folds for point in curve]
            raise TrainingFault(str(fault), (*earlier, *fault.curve)) from fault

    def _watched(self, standing: Standing | None) -> None:
        self.at.standing = standing
        if self.watch is None:
            return
        self.at.seconds = self.seconds
        self.watch(_curve_of(self.at), self.at.to_bytes)


def check_examples(
    examples: Sequence[Example], validation: Sequence[Example], labels: Sequence[str] | None
) -> list[str]:
    """The labels in the order of the outputs. Raises TrainingFault for too few examples or labels that do not fit."""
    if len(examples) < 2:
        raise TrainingFault(f"There is {len(examples)} example. Give at least two, better sixteen for each label.")
    found = {example.label for example in examples}
    if len(found) < 2:
        raise TrainingFault(
            f"All examples carry the label {next(iter(found))!r}. Give examples of at least two labels."
        )
    order = list(labels) if labels is not None else sorted(found)
    if len(set(order)) != len(order):
        raise TrainingFault("A label is named twice. Name each label once.")
    strange = (found | {example.label for example in validation}) - set(order)
    if strange:
        raise TrainingFault(
            f"The label {sorted(strange)[0]!r} is not among the labels to learn. Add it or drop its rows."
        )
    return order


def peak_memory() -> int:
    """Highest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _curve_of(at: Checkpoint) -> tuple[CurvePoint, ...]:
    """Every point so far: the folds', then those of the descent that is going on."""
    points = [point for curve in at.folds for point in curve]
    return (*points, *(at.standing.curve if at.standing else ()))


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch's allocator of main memory, MKL and oneDNN each say it in words of their own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def _no_room(batch: int) -> str:
    return (
        f"Memory ran out also with {batch} examples at a time. "
        "Use shorter texts (a lower max_length), a smaller base, or a worker with more memory."
    )
