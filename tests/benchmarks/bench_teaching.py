"""Teaching from few examples beside prompting, the nearest way out and a linear probe; one JSON line a figure.

Run from the repository root: python -m tests.benchmarks.bench_teaching TASKS [options], where TASKS is a folder of
tasks, each with train.jsonl and test.jsonl of {"text", "label"}. Without TASKS only speed and memory are measured.
The grid is what time allows: --bases minilm,smollm2 --names a,b --sizes 16,32,64,256 --seeds 0,1,2 --tests 200
--orders 3.
--cache FOLDER keeps specialists and cells, so that a grid that was stopped goes on.
Seconds of work are this process's own processor time on one thread, so that a busy machine does not change them.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import log
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from adapters.runtime.examples import Example
from adapters.tasks.sampling import in_turn
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


@dataclass(frozen=True)
class Cell:
    """One square of the grid."""

    base: str
    task: str
    examples: int
    seed: int


def rows_of(tasks: Path, cell: Cell) -> tuple[list[Example], list[Example], list[str]]:
    """(examples, test, labels) of a cell."""
    train = read(tasks / cell.task, "train")
    return (
        in_turn(train, cell.examples, cell.seed),
        read(tasks / cell.task, "test"),
        sorted({row.label for row in train}),
    )


def taught(args: argparse.Namespace, cell: Cell, loaded: LoadedBase) -> Path:
    """The specialist of a cell, taught once and kept with what it cost."""
    folder = args.cache / "specialists" / f"{cell.base}-{cell.task}-{cell.examples}-{cell.seed}"
    if not (folder / "cost.json").exists():
        rows, _, labels = rows_of(args.tasks, cell)
        _, method, causal = BASES[cell.base]
        chosen = replace(usual_settings(method, causal=causal, examples=len(rows)), seed=cell.seed)
        began = time.process_time()
        result = teach(loaded, rows, chosen, folder, labels=labels)
        spent = round(time.process_time() - began, 1)
        (folder / "cost.json").write_text(json.dumps({"epochs": result.best.epoch, "teaching_seconds": spent}))
    return folder


def nearest(args: argparse.Namespace, cell: Cell, loaded: LoadedBase) -> tuple[str, Path] | None:
    """The other task's specialist (same size and seed) whose examples' words are most like this cell's (tf-idf)."""
    names = args.names.split(",")
    words = {
        name: Counter(
            word for row in rows_of(args.tasks, replace(cell, task=name))[0] for word in set(row.text.lower().split())
        )
        for name in names
    }
    known = Counter(word for counts in words.values() for word in counts)

    def like(name: str) -> float:
        one, two = ({w: c * log(len(names) / known[w]) for w, c in words[n].items()} for n in (cell.task, name))
        length = (sum(v * v for v in one.values()) * sum(v * v for v in two.values())) ** 0.5
        return sum(value * two.get(word, 0.0) for word, value in one.items()) / (length or 1.0)

    others = sorted((name for name in names if name != cell.task), key=like, reverse=True)
    return (others[0], taught(args, replace(cell, task=others[0]), loaded)) if others else None


def cells(args: argparse.Namespace, folders: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """One measured cell of the grid after another; those in the cache are not measured again."""
    kept = args.cache / "cells.jsonl"
    known = {}
    if kept.exists():
        lines = [json.loads(line) for line in kept.read_text().splitlines()]
        known = {Cell(line["base"], line["task"], line["examples"], line["seed"]): line for line in lines}
    squares = [
        Cell(base, name, int(size), int(seed))
        for seed in args.seeds.split(",")
        for size in args.sizes.split(",")
        for base in args.bases.split(",")
        for name in args.names.split(",")
    ]
    bases = {base: LoadedBase(folder) for base, folder in folders.items()}
    for cell in squares:
        if cell not in known:
            known[cell] = measured(args, cell, folders[cell.base], bases[cell.base])
            with kept.open("a") as file:
                file.write(json.dumps(known[cell]) + "\n")
        yield known[cell]


def measured(args: argparse.Namespace, cell: Cell, base: Path, loaded: LoadedBase) -> dict[str, Any]:
    """Every way's row of one cell."""
    rows, test, labels = rows_of(args.tasks, cell)
    folder = taught(args, cell, loaded)
    near = nearest(args, cell, loaded)
    some = random.Random(0).sample(test, min(args.tests, len(test)))
    ways = compare(base, folder, rows, some, labels, orders=args.orders, nearest=near[1] if near else None)
    keys = ("accuracy", "interval", "orders", "shots", "flops", "flops_cached", "seconds")
    return {
        "benchmark": "cell", **asdict(cell), **json.loads((folder / "cost.json").read_text()),
        "nearest": near[0] if near else "",
        "ways": {way["name"].split(":")[0]: {key: way[key] for key in keys} for way in ways},
    }  # fmt: skip


def summary(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means over tasks and seeds for each base and size, and the work of a prediction beside prompting's."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for cell in found:
        groups[cell["base"], cell["examples"]].append(cell)
    for (base, size), some in sorted(groups.items()):
        means: dict[str, Any] = {}
        for name in some[0]["ways"]:
            values = [cell["ways"][name]["accuracy"] for cell in some if cell["ways"][name]["accuracy"] is not None]
            if values:
                means[name] = round(fmean(values), 3)
                spread = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
                means[f"{name}, ±"] = round(1.96 * spread, 3)
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
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--orders", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="folder that keeps what is measured, to go on after a stop")
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
        args.cache = args.cache or scratch
        args.cache.mkdir(parents=True, exist_ok=True)
        for cell in cells(args, folders):
            print(json.dumps(cell), flush=True)
            found.append(cell)
        for line in summary(found):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
