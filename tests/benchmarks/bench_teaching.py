"""Teaching from few examples beside prompting, the nearest way out and a linear probe; one JSON line a figure.

Run from the repository root: python -m tests.benchmarks.bench_teaching TASKS [options], where TASKS is a folder of
tasks, each with train.jsonl and test.jsonl of {"text", "label"}. Without TASKS only speed and memory are measured.
The grid is what time allows: --bases minilm,smollm2 --names a,b --sizes 16,32,64,256 --seeds 3 --tests 200 --orders 3.
Seconds of work are this process's own processor time on one thread, so that a busy machine does not change them.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from adapters.runtime.examples import Example
from merges.demo import texts
from merges.demo.bases import MINILM, SMOLLM2, write_base
from merges.training.comparison import compare
from merges.training.loaded import LoadedBase
from merges.training.settings import usual_settings
from merges.training.teach import peak_memory, teach

BASES = {"minilm": (MINILM, "lora", False), "smollm2": (SMOLLM2, "ia3", True)}


def read(task: Path, split: str) -> list[Example]:
    rows = [json.loads(line) for line in (task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [Example(row["text"], str(row["label"])) for row in rows]


def few(rows: list[Example], count: int, seed: int) -> list[Example]:
    """`count` examples, every label as often as can be, the same for the same seed."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for row in random.Random(seed).sample(rows, len(rows)):
        by_label[row.label].append(row)
    turns = max(map(len, by_label.values()))
    taken = [
        by_label[label][turn] for turn in range(turns) for label in sorted(by_label) if turn < len(by_label[label])
    ]
    return taken[:count]


def cells(args: argparse.Namespace, folders: dict[str, Path], scratch: Path) -> Iterator[dict[str, Any]]:
    """One measured cell of the grid after another: base, task, size, seed and every way's row."""
    for base in args.bases.split(","):
        _, method, causal = BASES[base]
        loaded = LoadedBase(folders[base])
        for size in map(int, args.sizes.split(",")):
            for name in args.names.split(","):
                for seed in range(args.seeds):
                    train, test = read(args.tasks / name, "train"), read(args.tasks / name, "test")
                    labels = sorted({row.label for row in train})
                    rows = few(train, size, seed)
                    if len({row.label for row in rows}) < 2:
                        continue
                    chosen = replace(usual_settings(method, causal=causal, examples=len(rows)), seed=seed)
                    began = time.process_time()
                    result = teach(loaded, rows, chosen, scratch / "specialist", labels=labels)
                    spent = time.process_time() - began
                    some = random.Random(0).sample(test, min(args.tests, len(test)))
                    ways = compare(folders[base], scratch / "specialist", rows, some, labels, orders=args.orders)
                    yield {
                        "benchmark": "cell", "base": base, "task": name, "examples": size, "seed": seed,
                        "epochs": result.best.epoch, "teaching_seconds": round(spent, 1),
                        "ways": {way["name"].split(":")[0]: {
                            key: way[key] for key in ("accuracy", "orders", "shots", "flops", "flops_cached", "seconds")
                        } for way in ways},
                    }  # fmt: skip


def summary(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means over tasks and seeds for each base and size, and the work of a prediction beside prompting's."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for cell in found:
        groups[cell["base"], cell["examples"]].append(cell)
    for (base, size), some in sorted(groups.items()):
        means = {}
        for name in some[0]["ways"]:
            values = [cell["ways"][name]["accuracy"] for cell in some if cell["ways"][name]["accuracy"] is not None]
            if values:
                means[name] = round(fmean(values), 3)
        line = {
            "benchmark": f"mean accuracy, {base}, {size} examples",
            "cells": len(some),
            "value": means,
            "unit": "share",
        }
        if "In-context learning" in means:
            ours = fmean(cell["ways"]["Specialist"]["flops"] for cell in some)
            theirs = fmean(cell["ways"]["In-context learning"]["flops"] for cell in some)
            times = [
                fmean(cell["ways"][name]["seconds"] for cell in some) for name in ("Specialist", "In-context learning")
            ]
            line |= {"work_ratio": round(ours / theirs, 3), "time_ratio_prefix_kept": round(times[0] / times[1], 3)}
        yield line


def speed(folders: dict[str, Path], scratch: Path) -> Iterator[dict[str, Any]]:
    """64 examples from loading the base to written files, in processor seconds of one thread, and the memory."""
    rows = texts.splits(texts.task_named("field-kind")).train[:64]
    for base in folders:
        _, method, causal = BASES[base]
        chosen = usual_settings(method, causal=causal, examples=len(rows))
        began, wall = time.process_time(), time.perf_counter()
        result = teach(folders[base], rows, chosen, scratch / "speed")
        for value, unit in ((time.process_time() - began, "processor s"), (time.perf_counter() - wall, "wall s")):
            yield {
                "benchmark": f"64 examples, {base}, {method}",
                "value": round(value, 1),
                "unit": unit,
                "steps": result.steps,
            }
        yield {"benchmark": f"peak memory, 64 examples, {base}", "value": round(peak_memory() / 2**20), "unit": "MiB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="?", type=Path)
    parser.add_argument("--bases", default="minilm")
    parser.add_argument("--names", default="movie_sentiment,sms_spam,clickbait_headlines,product_pros_cons")
    parser.add_argument("--sizes", default="16,32,64,256")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--orders", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        folders = {name: write_base(BASES[name][0], scratch / name) for name in args.bases.split(",")}
        if args.tasks is None:
            for line in speed(folders, scratch):
                print(json.dumps(line), flush=True)
            return
        found = []
        for cell in cells(args, folders, scratch):
            print(json.dumps(cell), flush=True)
            found.append(cell)
        for line in summary(found):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
