"""Where to begin: the base or a relative, tried cheaply on the examples before anything is trained.

Encoders: how well logistic regression on the frozen features of each start labels examples it was not fitted on.
Causal models: how often each start, untrained, finds the right label the likeliest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.examples import Example
from adapters.runtime.linear import fit_linear
from adapters.runtime.progress import Progress, silent
from adapters.runtime.prompts import prompt_of
from adapters.runtime.runtime import Runtime
from adapters.tasks.sampling import spread
from merges.comparing.tuning import Trial as Tried
from merges.comparing.tuning import search_weights
from merges.recipes import Recipe, parse
from merges.running import LocalAdapter, run
from merges.training.folds import stratified, usable_folds
from merges.training.settings import Settings

BASE = "base"
MOST_TRIED = 96
"""Examples a trial uses at most: enough to tell starts apart, few enough to stay cheap."""
STRENGTH = 10.0


@dataclass(frozen=True)
class Trial:
    """One start: how many of n examples it got right before training, or why it could not be tried."""

    name: str
    right: int = 0
    n: int = 0
    error: str = ""


def try_starts(
    base: Path,
    candidates: Mapping[str, Path],
    examples: Sequence[Example],
    validation: Sequence[Example],
    labels: Sequence[str],
    settings: Settings,
    progress: Progress = silent,
    threads: int = 1,
) -> list[Trial]:
    """Try the base and each adapter folder on the validation part, without one on held-back parts of the examples.

    The base comes first. An adapter that cannot be loaded is reported. Raises RuntimeFault for the base.
    """
    runtime = Runtime(base, max_length=settings.max_length, threads=threads)
    trials = []
    for number, name in enumerate([BASE, *candidates]):
        progress(number, len(candidates) + 1, f"Trying {name} as a start")
        subject = None
        try:
            if name != BASE:
                runtime.attach(name, candidates[name])
                subject = name
            right, n = _score(runtime, subject, examples, validation, labels, settings)
            trials.append(Trial(name, right, n))
        except RuntimeFault as error:
            trials.append(Trial(name, error=str(error)))
        finally:
            if subject is not None:
                runtime.detach(subject)
    return trials


def combine(inputs: Mapping[str, Path], weights: Sequence[float], rank: int, output: Path) -> Path:
    """Σ wᵢΔWᵢ of LoRA adapters at one rank, written to `output`, to begin from. Raises RecipeError."""
    recipe = parse({
        "merge_method": "task_arithmetic", "parameters": {"lambda": 1.0}, "output": {"form": "rank", "rank": rank},
        "inputs": [{"adapter": name, "weight": weight} for name, weight in zip(inputs, weights, strict=True)],
    })  # fmt: skip
    run(recipe, [LocalAdapter(name, folder) for name, folder in inputs.items()], output, silent)
    return output


def search_combination(
    base: Path,
    inputs: Mapping[str, Path],
    examples: Sequence[Example],
    validation: Sequence[Example],
    labels: Sequence[str],
    settings: Settings,
    scratch: Path,
    progress: Progress = silent,
    tries: int = 12,
    threads: int = 1,
) -> tuple[list[float], Trial]:
    """LoraHub's weights on the few examples, without gradients (Huang et al. 2024), and how the result did.

    Every set of weights is merged and scored as the other starts are. Raises RuntimeFault, RecipeError.
    """
    runtime = Runtime(base, max_length=settings.max_length, threads=threads)
    scored: dict[tuple[float, ...], Trial] = {}

    def attempt(recipe: Recipe) -> Tried:
        weights = [entry.weight for entry in recipe.inputs]
        number = len(scored)
        progress(number, tries, f"Trying weights {', '.join(f'{weight:.2f}' for weight in weights)}")
        folder = combine(inputs, weights, settings.rank, scratch / f"tried-{number}")
        runtime.attach("tried", folder)
        try:
            right, n = _score(runtime, "tried", examples, validation, labels, settings)
        finally:
            runtime.detach("tried")
        scored[tuple(weights)] = Trial("lorahub", right, n)
        return Tried({}, {"examples": right / max(1, n)}, 1 - right / max(1, n))

    recipe = parse({
        "merge_method": "lorahub", "inputs": [{"adapter": name} for name in inputs], "select": {"tasks": ["examples"]},
    })  # fmt: skip
    best, _ = search_weights(recipe, attempt, trials=tries, bound=1.5, penalty=0.05, seed=settings.seed)
    weights = [entry.weight for entry in best.inputs]
    return weights, scored[tuple(weights)]


def choose(trials: Sequence[Trial]) -> tuple[Trial, str]:
    """The start to take and why: a relative only when it is ahead of the base by more than chance would often do.

    Ahead means by at least two examples and sqrt(2 ln(1 + relatives)) standard errors of the base's share: so far the
    best of that many draws lies above their mean by chance alone.
    """
    known = [trial for trial in trials if not trial.error and trial.n]
    base = next((trial for trial in known if trial.name == BASE), None)
    if base is None:
        return Trial(BASE), "The base was not tried."
    best = max(known, key=lambda trial: trial.right)
    share = base.right / base.n
    chance = math.sqrt(2 * math.log(len(known)))
    needed = max(2.0, chance * (share * (1 - share) / base.n) ** 0.5 * base.n)
    told = f"{best.name} got {best.right} of {best.n} right before training, the base {base.right}"
    if best.name == BASE or len(known) == 1:
        return base, f"No relative was better than the base ({base.right} of {base.n} right before training)."
    if best.right - base.right < needed:
        return base, f"{told}: too little ahead to be sure, so the base was taken."
    return best, f"{told}."


def _score(
    runtime: Runtime,
    subject: str | None,
    examples: Sequence[Example],
    validation: Sequence[Example],
    labels: Sequence[str],
    settings: Settings,
) -> tuple[int, int]:
    if runtime.task == "generate":
        rows = spread(validation or examples, MOST_TRIED, settings.seed)
        prompts = [prompt_of(row.text, row.text_pair, settings.template) for row in rows]
        best = runtime.label_scores(prompts, labels, adapter=subject).argmax(1)
        return sum(labels[index] == row.label for index, row in zip(best, rows, strict=True)), len(rows)
    train = spread(examples, MOST_TRIED * 4, settings.seed)
    held = spread(validation, MOST_TRIED * 2, settings.seed)
    features = _features(runtime, subject, [*train, *held])
    targets = np.array([labels.index(row.label) for row in [*train, *held]])
    if held:
        folds = [list(range(len(train), len(train) + len(held)))]
    else:
        count = usable_folds([row.label for row in train], 5)
        folds = stratified([row.label for row in train], count, 0) if count else []
    right = 0
    for fold in folds:
        taught = np.setdiff1d(np.arange(len(train)), fold)
        matrix, bias = fit_linear(features[taught], targets[taught].tolist(), len(labels), strength=STRENGTH)
        right += int(((features[fold] @ matrix.T + bias).argmax(1) == targets[fold]).sum())
    return right, sum(map(len, folds))


def _features(runtime: Runtime, subject: str | None, rows: Sequence[Example]) -> np.ndarray:
    texts, pairs = [row.text for row in rows], [row.text_pair for row in rows]
    return runtime.features(texts, pairs, adapter=subject, normalise=True).astype(np.float64)
