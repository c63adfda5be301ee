"""Teach real specialists for the benchmarks, once, into a folder outside the repository: LoRA over MiniLM, IA3 over
SmolLM2.

Run from the repository root, naming the folder of tasks (<task>/train.jsonl) and where adapters go:
    TESSERA_TASKS=... TESSERA_SPECIALISTS=... python -m tests.benchmarks.train_specialists [minilm|smollm2]
What is there already is left alone, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from adapters.embeddings.texts import choose
from adapters.runtime.examples import Example, examples_of
from merges.demo.bases import MINILM, SMOLLM2, write_base
from merges.training.settings import Settings
from merges.training.teach import teach

SETTINGS = Settings(rank=8, alpha=16, epochs=4, max_length=48, class_weights="none", patience=0)
NINE = (
    "product_sentiment", "product_pros_cons", "sms_spam", "banking_requests", "travel_requests", "kitchen_requests",
    "bank_card_help", "snips_intents", "reddit_emotions",
)  # fmt: skip
FOURTEEN = (*NINE, "movie_sentiment", "movie_subjectivity", "clickbait_headlines", "bank_transfer_help",
            "assistant_topics")  # fmt: skip
OTHERS = ("car_requests", "language_id", "comparative_statements", "speech_era")
TWICE = ("movie_sentiment", "product_sentiment", "snips_intents", "bank_card_help", "clickbait_headlines", "sms_spam")

CAUSAL = ("sms_spam", "product_pros_cons", "clickbait_headlines", "movie_sentiment")
CAUSAL_SETTINGS = Settings(
    method="ia3", learning_rate=1e-2, epochs=6, batch_size=8, max_length=64, class_weights="none", patience=0, folds=0
)
CAUSAL_EXAMPLES = 48


def tasks_folder() -> Path:
    """Where the tasks are, from TESSERA_TASKS."""
    return Path(os.environ["TESSERA_TASKS"])


def specialists_folder() -> Path:
    """Where the taught adapters are, from TESSERA_SPECIALISTS: <task>/<seed>/."""
    return Path(os.environ["TESSERA_SPECIALISTS"])


def base_folder() -> Path:
    """The MiniLM base as the hub publishes it, written once beside the specialists."""
    folder = specialists_folder() / "base"
    return folder if (folder / "README.md").exists() else write_base(MINILM, folder)


def causal_folder() -> Path:
    """SmolLM2-135M as the hub publishes it, written once beside the specialists."""
    folder = specialists_folder() / "smollm2"
    return folder if (folder / "README.md").exists() else write_base(SMOLLM2, folder)


def examples(task: str, split: str) -> list[Example]:
    """The rows of a task's split."""
    lines = (tasks_folder() / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return examples_of(json.loads(line) for line in lines)


def taught(base: Path, task: str, train: list[Example], settings: Settings, folder: Path) -> None:
    """Teach one specialist, unless it is there."""
    if (folder / "training.json").exists():
        return
    started = time.perf_counter()
    labels = sorted({example.label for example in train})
    result = teach(base, train, settings, folder, labels=labels)
    facts = {
        "task": task,
        "seed": settings.seed,
        "loss": result.curve[-1].loss,
        "seconds": result.seconds,
        "n": result.n,
    }
    (folder / "training.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    print(json.dumps({**facts, "wall": round(time.perf_counter() - started, 1)}), flush=True)


def main() -> None:
    """Teach the fourteen first, then second seeds, then the rest; then few-shot specialists of the causal base."""
    which = sys.argv[1:] or ["minilm", "smollm2"]
    if "minilm" in which:
        base = base_folder()
        for task, seed in [(t, 1) for t in FOURTEEN] + [(t, 2) for t in TWICE] + [(t, 1) for t in OTHERS]:
            folder = specialists_folder() / task / str(seed)
            taught(base, task, examples(task, "train"), replace(SETTINGS, seed=seed), folder)
    if "smollm2" in which:
        for task in CAUSAL:
            few = choose(examples(task, "train"), CAUSAL_EXAMPLES, 1)
            taught(
                causal_folder(), task, few, replace(CAUSAL_SETTINGS, seed=1), specialists_folder() / task / "smollm2"
            )


if __name__ == "__main__":
    main()
