"""Teach real LoRA specialists over MiniLM for the benchmarks, once, into a folder outside the repository.

Run from the repository root, naming the folder of tasks (<task>/train.jsonl) and where adapters go:
    TESSERA_TASKS=... TESSERA_SPECIALISTS=... python -m tests.benchmarks.train_specialists
What is there already is left alone, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

from adapters.runtime.examples import Example, examples_of
from merges.demo.bases import MINILM, write_base
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


def examples(task: str, split: str) -> list[Example]:
    """The rows of a task's split."""
    lines = (tasks_folder() / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return examples_of(json.loads(line) for line in lines)


def main() -> None:
    """Teach the fourteen first, then second seeds, then the rest."""
    base = base_folder()
    wanted = [(task, 1) for task in FOURTEEN] + [(task, 2) for task in TWICE] + [(task, 1) for task in OTHERS]
    for task, seed in wanted:
        folder = specialists_folder() / task / str(seed)
        if (folder / "training.json").exists():
            continue
        started = time.perf_counter()
        train = examples(task, "train")
        labels = sorted({example.label for example in train})
        result = teach(base, train, replace(SETTINGS, seed=seed), folder, labels=labels)
        facts = {"task": task, "seed": seed, "loss": result.best.loss, "seconds": result.seconds, "n": result.n}
        (folder / "training.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        print(json.dumps({**facts, "wall": round(time.perf_counter() - started, 1)}), flush=True)


if __name__ == "__main__":
    main()
