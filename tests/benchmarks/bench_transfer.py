"""Which similarity foretells transfer? Few-shot training on B from A's specialist, for eight tasks by eight.

Run from the repository root after `train_specialists`, with the same variables; what was measured is kept beside the
specialists (transfer.jsonl), so an interrupted run goes on where it stopped:
    python -m tests.benchmarks.bench_transfer [seeds, default 1]
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from adapters.embeddings import task2vec, task_emb, variational
from adapters.embeddings.declaration import Material
from adapters.embeddings.texts import choose
from adapters.embeddings.updates import cosine, published_form, read_update
from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from merges.training.loaded import LoadedBase
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.benchmarks.bench_routing import say
from tests.benchmarks.routing_data import adapter_folder
from tests.benchmarks.train_specialists import base_folder, examples, specialists_folder

EIGHT = ("movie_sentiment", "product_sentiment", "movie_subjectivity", "product_pros_cons", "bank_card_help",
         "bank_transfer_help", "snips_intents", "assistant_topics")  # fmt: skip
FEW = Settings(steps=16, batch_size=16, max_length=32, patience=0, learning_rate=1e-3, class_weights="none")
TESTED, SHOTS_A_LABEL, FEWEST, DRAWS = 150, 4, 32, 2000
FRESH = ""


def few(task: str, seed: int) -> list[Example]:
    """A few labelled examples, evenly over the labels."""
    rows = examples(task, "train")
    return choose(rows, max(FEWEST, SHOTS_A_LABEL * len({row.label for row in rows})), seed)


def measured(seeds: int) -> dict[tuple[str, str, int], float]:
    """Test accuracy on B after few-shot training from A's specialist (or from a fresh adapter), for each seed."""
    path = specialists_folder() / "transfer.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = {(row["source"], row["target"], row["seed"]): row["accuracy"] for row in known}
    loaded, runtime = LoadedBase(base_folder()), Runtime(base_folder(), max_length=64)
    for seed in range(seeds):
        for target in EIGHT:
            shots, test = few(target, seed), examples(target, "test")[:TESTED]
            labels = sorted({row.label for row in examples(target, "train")})
            for source in (FRESH, *(name for name in EIGHT if name != target)):
                if (source, target, seed) in found:
                    continue
                start = adapter_folder(source) if source else None
                with tempfile.TemporaryDirectory() as folder:
                    teach(loaded, shots, replace(FEW, seed=seed), Path(folder), labels=labels, start=start)
                    runtime.attach("few", Path(folder))
                    logits = runtime.logits([row.text for row in test], "few")
                    runtime.detach("few")
                right = [labels[int(row.argmax())] == wanted.label for row, wanted in zip(logits, test, strict=True)]
                found[source, target, seed] = float(np.mean(right))
                line = {"source": source, "target": target, "seed": seed, "accuracy": found[source, target, seed]}
                with path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    return found


def similarities() -> dict[str, np.ndarray]:
    """Name of a similarity → (target, source) table."""
    runtime = Runtime(base_folder(), max_length=64)
    made: dict[str, list] = {"texts": [], "tuned": [], "published A, B": [], "Task2Vec": [], "Task2Vec, variational": [],
                             "TaskEmb": []}  # fmt: skip
    for task in EIGHT:
        rows = choose(examples(task, "train"), 128, 0)
        update = read_update(adapter_folder(task))  # type: ignore[arg-type]
        material = Material(rows, lambda texts: runtime.features(list(texts), normalise=True), probe=runtime)
        made["texts"].append(runtime.features([row.text for row in rows], normalise=True).mean(axis=0))
        made["tuned"].append(update)
        made["published A, B"].append(published_form(update))
        made["Task2Vec"].append(task2vec.embed(material).vector)
        made["Task2Vec, variational"].append(variational.embed(material).vector)
        runtime.attach(task, adapter_folder(task))  # type: ignore[arg-type]
        made["TaskEmb"].append(task_emb.embed(replace(material, tuned=task)).vector)
        runtime.detach(task)
    compared = {"tuned": cosine, "Task2Vec": task2vec.similarity, "Task2Vec, variational": task2vec.similarity,
                "TaskEmb": task2vec.similarity}  # fmt: skip
    return {
        name: np.array([[compared.get(name, angle)(one, other) for other in rows] for one in rows])
        for name, rows in made.items()
    }


def angle(one: np.ndarray, other: np.ndarray) -> float:
    """The cosine of two vectors."""
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def within(table: np.ndarray) -> np.ndarray:
    """Ranks of the sources of each target (row) between -1 and 1, the diagonal left out: (targets, sources − 1)."""
    size = len(table)
    rows = table[~np.eye(size, dtype=bool)].reshape(size, size - 1)
    ranks = (rows[:, :, None] > rows[:, None, :]).sum(2) + 0.5 * ((rows[:, :, None] == rows[:, None, :]).sum(2) - 1)
    return np.asarray(2 * ranks / (size - 2) - 1)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's ρ of ranked rows, pooled over targets."""
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def main() -> None:
    """Measure what is missing, then say how well each similarity ranks sources by their gain."""
    torch.set_num_threads(1)
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    found = measured(seeds)
    gains = np.zeros((len(EIGHT), len(EIGHT)))
    for row, target in enumerate(EIGHT):
        for column, source in enumerate(EIGHT):
            if source != target:
                gains[row, column] = np.mean(
                    [found[source, target, seed] - found[FRESH, target, seed] for seed in range(seeds)]
                )
    off = gains[~np.eye(len(EIGHT), dtype=bool)]
    say("transfer, gain over a fresh adapter", float(off.mean()), "accuracy", helped=round(float((off > 0).mean()), 3),
        best=round(float(off.max()), 3), worst=round(float(off.min()), 3), pairs=len(off), seeds=seeds)  # fmt: skip
    ranked, chance = within(gains), np.random.default_rng(0)
    for name, table in similarities().items():
        alike = within(table)
        drawn = [chance.integers(0, len(EIGHT), len(EIGHT)) for _ in range(DRAWS)]
        low, high = np.percentile([correlation(alike[rows], ranked[rows]) for rows in drawn], [2.5, 97.5])
        regret = [gains[row].max() - gains[row, int(np.argmax(np.where(np.arange(len(EIGHT)) == row, -9, table[row])))]
                  for row in range(len(EIGHT))]  # fmt: skip
        say(f"transfer, {name}, Spearman's ρ with the gain within targets", correlation(alike, ranked), "rho",
            interval=[round(float(low), 3), round(float(high), 3)], regret_at_1=round(float(np.mean(regret)), 4))  # fmt: skip


if __name__ == "__main__":
    main()
