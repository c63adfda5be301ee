"""Results as lm-evaluation-harness (0.4) writes them: read for outside scores, written so that others can read ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

METRICS = {
    "acc": "accuracy", "acc_norm": "accuracy_by_character", "f1": "macro_f1", "mcc": "mcc",
    "exact_match": "exact_match", "chrf": "chrf", "rougeL": "rouge_l", "perplexity": "perplexity",
}  # fmt: skip
OURS = {ours: theirs for theirs, ours in METRICS.items()}
MOST_TASKS = 500


class BadResults(ValueError):
    """The JSON is not a result of lm-evaluation-harness; the message says what is missing."""


@dataclass(frozen=True)
class OutsideScore:
    """One task's scores from elsewhere: metric → value, and the standard error of accuracy where it is given."""

    task: str
    scores: dict[str, float]
    standard_error: float | None
    n: int
    shots: int
    versions: dict[str, str]
    seed: int


def read_results(data: Any) -> list[OutsideScore]:
    """Every task of a results file whose metrics this hub knows. Raises BadResults."""
    if not isinstance(data, Mapping) or not isinstance(data.get("results"), Mapping):
        raise BadResults("A result of lm-evaluation-harness has an object 'results' with one entry for each task.")
    if len(data["results"]) > MOST_TASKS:
        raise BadResults(f"A results file may hold {MOST_TASKS} tasks at most.")
    found = [
        score
        for name, values in data["results"].items()
        if isinstance(values, Mapping) and (score := _read_task(str(name), values, data)) is not None
    ]
    if not found:
        raise BadResults(f"None of its tasks has one of the metrics {', '.join(METRICS)}.")
    return found


def _read_task(name: str, values: Mapping[str, Any], data: Mapping[str, Any]) -> OutsideScore | None:
    scores: dict[str, float] = {}
    error: float | None = None
    for key, value in values.items():
        metric = str(key).partition(",")[0]
        if metric in METRICS and _is_number(value):
            scores.setdefault(METRICS[metric], float(value))
        elif metric == "acc_stderr" and _is_number(value):
            error = float(value)
    if not scores:
        return None
    samples = _mapping(_mapping(data, "n-samples"), name)
    n = samples.get("effective") or samples.get("original")
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise BadResults(f"'n-samples' does not say on how many items {name} was judged.")
    config = _mapping(data, "config")
    shots, seed = _mapping(data, "n-shot").get(name, 0), config.get("random_seed", 0)
    versions = {key: str(data[f"{key}_version"]) for key in ("lm_eval", "transformers") if data.get(f"{key}_version")}
    return OutsideScore(name, scores, error, n, _whole(shots), versions, _whole(seed))


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e12


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0


@dataclass(frozen=True)
class OurScore:
    """One of our evaluations, as the writer needs it."""

    task: str
    version: str
    scores: Mapping[str, float]
    standard_error: float | None
    n: int
    shots: int


def write_results(
    scores: Iterable[OurScore], *, model: str, parameters: int | None, device: str, seed: int, seconds: float,
    versions: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """A results file with one entry for each score, as lm-evaluation-harness 0.4 lays it out."""
    rows = list(scores)
    results: dict[str, Any] = {}
    for row in rows:
        values: dict[str, Any] = {"alias": row.task, "sample_len": row.n}
        for metric, value in row.scores.items():
            if metric in OURS:
                values[f"{OURS[metric]},none"] = value
        if row.standard_error is not None:
            values["acc_stderr,none"] = row.standard_error
        results[row.task] = values
    return {
        "results": results,
        "group_subtasks": {row.task: [] for row in rows},
        "configs": {row.task: {"task": row.task, "num_fewshot": row.shots} for row in rows},
        "versions": {row.task: row.version for row in rows},
        "n-shot": {row.task: row.shots for row in rows},
        "higher_is_better": {row.task: {OURS[m]: m != "perplexity" for m in row.scores if m in OURS} for row in rows},
        "n-samples": {row.task: {"original": row.n, "effective": row.n} for row in rows},
        "config": {
            "model": "hf", "model_args": f"pretrained={model}", "model_num_parameters": parameters, "device": device,
            "random_seed": seed,
        },
        "transformers_version": versions.get("transformers", ""),
        "total_evaluation_time_seconds": str(seconds),
    }  # fmt: skip
