"""The figures of a comparison: progress, normalised accuracy, worst task, paired tests, bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from merges.comparing.judge import Verdict
from merges.evaluation.metrics import mcnemar_exact, standard_error

Verdicts = Mapping[str, Verdict]
DRAWS = 1000
NEARLY = 0.95


def row(name: str, merged: Verdicts, base: Verdicts, specialists: Verdicts, seed: int = 0) -> dict[str, Any]:
    """One subject of the table: each task, and the whole.

    normalised = merged/specialist; progress = (merged − base)/(specialist − base), None where specialist and base are
    nearer than two standard errors. `interval` is the 95 % bootstrap interval of the mean accuracy over items.
    """
    tasks = {task: _on_task(merged[task], base[task], specialists[task]) for task in merged}
    progress = [entry["progress"] for entry in tasks.values() if entry["progress"] is not None]
    normalised = [entry["normalised"] for entry in tasks.values() if entry["normalised"] is not None]
    worst = min(tasks, key=lambda task: tasks[task]["normalised"] or 0.0)
    return {
        "name": name,
        "tasks": tasks,
        "accuracy": float(np.mean([entry["accuracy"] for entry in tasks.values()])),
        "interval": _interval(merged, seed),
        "normalised": float(np.mean(normalised)) if normalised else None,
        "progress": float(np.mean(progress)) if progress else None,
        "worst_task": worst,
        "worst_normalised": tasks[worst]["normalised"],
        "nearly_whole": float(np.mean([value >= NEARLY for value in normalised])) if normalised else None,
    }


def _on_task(merged: Verdict, base: Verdict, specialist: Verdict) -> dict[str, Any]:
    n, gap = len(merged.right), specialist.accuracy - base.accuracy
    noise = 2 * (standard_error(specialist.accuracy, n) ** 2 + standard_error(base.accuracy, n) ** 2) ** 0.5
    return {
        "n": n,
        "accuracy": merged.accuracy,
        "standard_error": standard_error(merged.accuracy, n),
        "normalised": merged.accuracy / specialist.accuracy if specialist.accuracy else None,
        "progress": (merged.accuracy - base.accuracy) / gap if abs(gap) > noise else None,
        "against_base": paired(merged, base),
        "against_specialist": paired(merged, specialist),
    }


def paired(one: Verdict, other: Verdict) -> dict[str, Any]:
    """Wins, losses and McNemar's exact p on the same items."""
    wins, losses = int((one.right & ~other.right).sum()), int((other.right & ~one.right).sum())
    return {"wins": wins, "losses": losses, "p": mcnemar_exact(wins, losses)}


def _interval(merged: Verdicts, seed: int) -> tuple[float, float]:
    draw = np.random.default_rng(seed)
    means = np.mean(
        [
            verdict.right[draw.integers(0, len(verdict.right), (DRAWS, len(verdict.right)))].mean(axis=1)
            for verdict in merged.values()
        ],
        axis=0,
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
