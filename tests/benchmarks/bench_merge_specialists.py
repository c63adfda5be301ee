"""Every merging method on real specialists, beside the controls: accuracy, progress, worst task; one JSON line each.

`SPECIALISTS=/path TASKS=/path python -m tests.benchmarks.bench_merge_specialists [count] [validation] [test] [methods]`.
SPECIALISTS holds `base/` and `<task>/<seed>/` (LoRA r = 8 with heads and labels.json, taught on TASKS/<task>/train.jsonl);
TASKS holds `<task>/{train,test}.jsonl`. There is no validation split, so the test rows are shuffled once and cut: λ is
chosen on the first part, the table is made on the second. Fisher, Grams and prototypes are measured on train rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from merges.comparing.compare import Comparison
from merges.comparing.judge import JudgedTask
from merges.methods import DEFAULT
from merges.running import LocalAdapter
from merges.running.heads import write_heads
from merges.statistics.measuring import measure
from merges.statistics.sidecar_files import files_of

METHODS = (
    "task_arithmetic", "ties", "ties+core", "ties+knots", "dare", "breadcrumbs", "fisher", "regmean", "tsv_m", "iso_c",
    "iso_cts",
)  # fmt: skip
DATA_FREE = frozenset(METHODS) - {"fisher", "regmean"}
MEASURED = 64


def rows(path: Path) -> list[Example]:
    """The examples of a JSONL file."""
    return [Example(row["text"], row["label"]) for row in map(json.loads, path.read_text().splitlines())]


def with_statistics(base: Path, adapter: Path, train: list[Example]) -> None:
    """Measure and write the sidecars of one specialist."""
    runtime = Runtime(base, max_length=64)
    runtime.attach("one", adapter)
    measured = measure(runtime, "one", train, list(runtime.labels("one") or ()), estimator="sampled")
    sha256 = hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    for path, data in files_of(measured.fishers(), measured.grams(), None, {"weights_sha256": sha256}).items():
        (adapter / path).parent.mkdir(exist_ok=True)
        (adapter / path).write_bytes(data)


def main() -> None:
    """The table."""
    specialists, tasks_at = Path(os.environ["SPECIALISTS"]), Path(os.environ["TASKS"])
    count, validation, test = (
        int(sys.argv[n]) if len(sys.argv) > n else otherwise for n, otherwise in ((1, 8), (2, 50), (3, 200))
    )
    methods = sys.argv[4].split(",") if len(sys.argv) > 4 else METHODS
    known = sorted(path.parent.name for path in specialists.glob("*/1") if (path / "labels.json").is_file())
    names = known[:: max(1, len(known) // count)][:count]
    with tempfile.TemporaryDirectory() as name:
        folder, inputs, tasks = Path(name), [], []
        for task in names:
            shutil.copytree(specialists / task / "1", folder / task)
            if {"fisher", "regmean"} & set(methods):
                with_statistics(specialists / "base", folder / task, rows(tasks_at / task / "train.jsonl")[:MEASURED])
            inputs.append(LocalAdapter(f"bench/{task}", folder / task))
        heads = write_heads(inputs, folder / "heads")
        for task, item in zip(names, inputs, strict=True):
            examples = rows(tasks_at / task / "test.jsonl")
            order = np.random.default_rng(0).permutation(len(examples))
            shuffled = [examples[index] for index in order]
            labels = tuple(json.loads((item.folder / "labels.json").read_text()))
            held = shuffled[validation : validation + test]
            tasks.append(JudgedTask(task, labels, heads[item.name], shuffled[:validation], held))
        started = time.perf_counter()
        comparison = Comparison(specialists / "base", inputs, tasks, folder / "work", lambda *_: None)
        (folder / "work").mkdir()
        report = comparison.run([split(method) for method in methods])
    told(report, names, time.perf_counter() - started)


def split(method: str) -> dict[str, Any]:
    """`ties+core` as a recipe says it."""
    name, _, space = method.partition("+")
    return {"merge_method": name} | ({"space": space} if space else {})


def told(report: dict[str, Any], names: list[str], seconds: float) -> None:
    """One line for each row, and one for the default against the best data-free method."""
    scales = {method["name"]: method["recipe"]["parameters"].get("lambda") for method in report["methods"]}
    best = max(
        (row for row in report["rows"] if row["name"] in DATA_FREE), key=lambda row: row["accuracy"], default=None
    )
    for row in report["rows"]:
        print(json.dumps({
            "figure": f"merge_{len(names)}_specialists_{row['name']}", "value": round(row["accuracy"], 4), "unit": "accuracy",
            "interval": [round(value, 4) for value in row["interval"]], "progress": row["progress"] and round(row["progress"], 3),
            "normalised": round(row["normalised"], 3), "worst": round(row["worst_normalised"], 3),
            "worst_task": row["worst_task"], "lambda": scales.get(row["name"]),
            "ratio": best and round(row["accuracy"] / best["accuracy"], 4),
        }), flush=True)  # fmt: skip
    chosen = next((row for row in report["rows"] if row["name"] == DEFAULT), None)
    if best and chosen:
        print(json.dumps({
            "figure": "merge_default_behind_best_data_free", "value": round(100 * (best["accuracy"] - chosen["accuracy"]), 2),
            "unit": "points", "target": 1.0, "best": best["name"], "tasks": names, "seconds": round(seconds),
        }))  # fmt: skip


if __name__ == "__main__":
    main()
