"""lm-evaluation-harness as a runner, where a worker has it: in a process of its own, offline, on files written here.

It reads a base and an adapter from folders that this module wrote from checked files (a derived configuration and
safetensors only), never from what a contributor uploaded as it is; no task file of a contributor is ever read by it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from adapters.runtime.adapter_files import read_adapter, write_plain
from adapters.runtime.bases import family_of
from adapters.runtime.progress import Progress
from adapters.runtime.prompts import prompt_of
from merges.evaluation.declared import OWN_ROWS, EvaluationFault, EvaluationSettings, LocalTask
from merges.evaluation.lm_eval import BadResults, OutsideScore, read_results

OWN_NAME = "tessera_own_rows"
KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HOME")
OFFLINE = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "DO_NOT_TRACK"), "1")
MISSING = ("offline", "couldn't reach", "couldn't find", "connection", "localentrynotfound", "max retries")


def interpreter() -> str:
    """The Python that has lm_eval: `LM_EVAL_PYTHON`, else this worker's own. Raises EvaluationFault if none has."""
    if settings.LM_EVAL_PYTHON:
        return str(settings.LM_EVAL_PYTHON)
    if importlib.util.find_spec("lm_eval") is None:
        raise EvaluationFault(
            "This worker has no lm-evaluation-harness. Ask its operator to install lm-eval and name its Python in "
            "LM_EVAL_PYTHON, or leave the setting lm_eval out to be judged by the hub's own harness."
        )
    return sys.executable


def judge(
    base: Path, adapter: Path | None, task: LocalTask, chosen: EvaluationSettings, scratch: Path, progress: Progress
) -> OutsideScore:
    """The score of a base or adapter on an lm-eval task, or by lm-eval on the task's own rows.

    Raises EvaluationFault, RuntimeFault.
    """
    python, family = interpreter(), family_of(base)
    if family == "encoder":
        raise EvaluationFault("lm-eval judges language models; this base reads texts and writes none.")
    scratch.mkdir(parents=True, exist_ok=True)
    name = chosen.lm_eval
    if name == OWN_ROWS:
        name = OWN_NAME
        _write_task(task, chosen, scratch)
    model = f"pretrained={base},dtype=float32,trust_remote_code=False"
    if adapter is not None:
        plain = write_plain(read_adapter(adapter), scratch / "adapter", base, seq2seq=family == "seq2seq")
        model += f",peft={plain}"
    words = [
        python, "-m", "lm_eval", "--model", "hf", "--model_args", model, "--tasks", name,
        "--include_path", str(scratch),
        "--batch_size", str(chosen.batch_size), "--num_fewshot", str(chosen.shots), "--seed", str(chosen.seed),
        "--device", "cuda" if os.environ.get("CUDA_VISIBLE_DEVICES") else "cpu", "--output_path", str(scratch / "out"),
    ]  # fmt: skip
    said = _run(words, scratch, progress)
    return _result(name, scratch / "out", said)


def _write_task(task: LocalTask, chosen: EvaluationSettings, folder: Path) -> None:
    """The task's rows as lm-eval's multiple choice: the same prompts and labels as the hub's own harness uses."""
    splits = {"test": task.test, **({"train": task.train} if task.train else {})}
    for split, rows in splits.items():
        lines = [
            {"prompt": prompt_of(row.text, row.text_pair, chosen.template), "answer": task.labels.index(row.label)}
            for row in rows
        ]
        (folder / f"{split}.json").write_text("\n".join(map(json.dumps, lines)) + "\n")
    metrics = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")]
    told: dict[str, Any] = {
        "task": OWN_NAME, "dataset_path": "json", "output_type": "multiple_choice", "test_split": "test",
        "dataset_kwargs": {"data_files": {split: str(folder / f"{split}.json") for split in splits}},
        "doc_to_text": "{{prompt}}", "doc_to_target": "answer", "doc_to_choice": list(task.labels),
        "metric_list": metrics,
    } | ({"fewshot_split": "train"} if task.train else {})  # fmt: skip
    (folder / f"{OWN_NAME}.yaml").write_text(json.dumps(told))  # JSON is YAML


def _run(words: Sequence[str], scratch: Path, progress: Progress) -> str:
    """Run it, offline and without the hub's secrets; what it said. `progress` may raise to stop it."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | OFFLINE
    environment |= {"HOME": str(scratch), "HF_DATASETS_CACHE": str(scratch / "datasets")}
    log = scratch / "said.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(words, cwd=scratch, env=environment, stdout=out, stderr=out)
        try:
            while process.poll() is None:
                progress(0, 1, "lm-eval is at work")
                try:
                    process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    text = log.read_text(errors="replace")
    if process.returncode != 0:
        raise EvaluationFault(_why(text))
    return text


def _why(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "it said nothing"
    if any(word in text.lower() for word in MISSING):
        return f"lm-eval could not read what it needs; workers have no network, so its data must be there: {last}"
    return f"lm-eval did not finish: {last}"


def _result(name: str, folder: Path, said: str) -> OutsideScore:
    files = sorted(folder.rglob("results_*.json"))
    if not files:
        raise EvaluationFault(_why(said))
    try:
        scores = read_results(json.loads(files[-1].read_text()))
    except (ValueError, BadResults) as error:
        raise EvaluationFault(f"lm-eval's result cannot be read: {error}") from error
    return next((score for score in scores if score.task == name), scores[0])
