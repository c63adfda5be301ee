"""Training against a bare peft + transformers loop on the same texts, model and steps; one JSON line a figure.

The two take turns in one run on one thread, and medians are compared. Speeds are examples a second of this process's
own processor time, from the end of the first step to that of the last, so that a busy machine changes little.

Run from the repository root: python -m tests.benchmarks.bench_training
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from adapters.runtime.examples import Example
from adapters.runtime.quiet import quiet_and_offline
from merges.demo import texts
from merges.demo.bases import MINILM, write_base
from merges.training.settings import Settings, usual_settings
from merges.training.teach import peak_memory, teach

SETTINGS = Settings(
    epochs=2, batch_size=32, max_length=48, warm_head=False, evenly=False, class_weights="none", patience=0
)  # fmt: skip
TURNS = 3


def bare(base: Path, rows: tuple[Example, ...], labels: tuple[str, ...]) -> float:
    """Examples per second of the plainest loop: shuffled batches padded to their longest row, AdamW, no more."""
    torch.manual_seed(0)
    with quiet_and_offline():
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = get_peft_model(
            AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels)),
            LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16),
        ).eval()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    marks = []
    for _ in range(SETTINGS.epochs):
        for part in torch.randperm(len(rows)).split(SETTINGS.batch_size):
            batch = tokenizer(
                [rows[i].text for i in part], truncation=True, max_length=48, padding=True, return_tensors="pt"
            )
            loss = model(**batch, labels=torch.tensor([labels.index(rows[i].label) for i in part])).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            marks.append(time.process_time())
    return speed(marks, len(rows))


def here(base: Path, rows: tuple[Example, ...], output: Path) -> float:
    """Examples per second of the training room."""
    marks: list[float] = []
    teach(base, rows, SETTINGS, output, lambda *_: marks.append(time.process_time()))
    return speed(marks, len(rows))


def speed(marks: list[float], rows: int) -> float:
    """From the processor's time at the end of each step; rows are a multiple of the batch."""
    return SETTINGS.epochs * rows * (1 - 1 / len(marks)) / (marks[-1] - marks[0])


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = write_base(MINILM, Path(folder) / "base")
        made = texts.splits(texts.task_named("field-kind"))
        teach(base, made.train[:32], replace(SETTINGS, epochs=1), Path(folder) / "warm")  # libraries loaded
        rows = made.train[: 10 * SETTINGS.batch_size]
        ours, theirs = [], []
        for turn in range(TURNS):
            ours.append(here(base, rows, Path(folder) / str(turn)))
            theirs.append(bare(base, rows, made.labels))
        memory = peak_memory()
        usual = usual_settings("lora", causal=False, examples=64)
        began = time.process_time()
        teach(base, made.train[:64], usual, Path(folder) / "small")
        small = time.process_time() - began
    lines = [
        ("training throughput, MiniLM LoRA r=8", median(ours), "examples/s", median(theirs)),
        ("training of 64 examples as usual, base loaded from disk", small, "processor s", None),
        ("training peak memory", memory / 2**20, "MiB", None),
    ]
    for figure, value, unit, peer in lines:
        ratio = round(value / peer, 3) if peer else None
        line = {
            "benchmark": figure,
            "value": round(value, 2),
            "unit": unit,
            "peer": peer and round(peer, 2),
            "ratio": ratio,
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
