"""Encoded tasks for the routing benchmarks: MiniLM vectors of every text, kept beside the specialists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.runtime.runtime import Runtime
from tests.benchmarks.train_specialists import FOURTEEN, OTHERS, base_folder, examples, specialists_folder

EIGHTEEN = (*FOURTEEN, *OTHERS)


@dataclass(frozen=True)
class Encoded:
    """One task: unit vectors of its train and test texts, and their labels."""

    name: str
    train: np.ndarray
    test: np.ndarray
    train_labels: list[str]
    test_labels: list[str]
    train_texts: list[str]
    test_texts: list[str]


def encoded(task: str, runtime: list[Runtime]) -> Encoded:
    """A task's vectors, computed once."""
    rows = {split: examples(task, split) for split in ("train", "test")}
    path = specialists_folder() / "vectors" / f"{task}.npz"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        if not runtime:
            runtime.append(Runtime(base_folder(), max_length=64))
        made = {split: runtime[0].features([row.text for row in rows[split]], normalise=True) for split in rows}
        part = path.with_suffix(".part.npz")
        np.savez(part, **made)
        part.replace(path)
    vectors = np.load(path)
    return Encoded(
        task, vectors["train"], vectors["test"], [row.label for row in rows["train"]],
        [row.label for row in rows["test"]], [row.text for row in rows["train"]], [row.text for row in rows["test"]],
    )  # fmt: skip


def all_encoded(names: tuple[str, ...] = EIGHTEEN) -> list[Encoded]:
    """Every task."""
    shared: list[Runtime] = []
    return [encoded(name, shared) for name in names]


def adapter_folder(task: str, seed: int = 1) -> Path | None:
    """A taught specialist, None when it is not there (yet)."""
    folder = specialists_folder() / task / str(seed)
    return folder if (folder / "training.json").exists() else None


if __name__ == "__main__":
    for made in all_encoded():
        print(made.name, made.train.shape, made.test.shape, flush=True)
