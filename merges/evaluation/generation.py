"""How near written answers come to expected ones: exact match, chrF and ROUGE-L by the libraries the field uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def judge(expected: Sequence[str], written: Sequence[str]) -> dict[str, list[float]]:
    """Scores from 0 to 1 of each answer. exact_match ignores case and outer spaces; `empty` counts empty answers.

    chrF (Popović 2015) by sacrebleu, ROUGE-L F1 (Lin 2004) by rouge-score. Raises ValueError for unequal lengths.
    """
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    if len(expected) != len(written) or not expected:
        raise ValueError("Answers need as many expected ones, and at least one.")
    chrf, rouge = CHRF(), RougeScorer(["rougeL"], use_stemmer=False)
    return {
        "exact_match": [
            float(a.strip().casefold() == b.strip().casefold()) for a, b in zip(expected, written, strict=True)
        ],
        "chrf": [chrf.sentence_score(b, [a]).score / 100 for a, b in zip(expected, written, strict=True)],
        "rouge_l": [rouge.score(a, b)["rougeL"].fmeasure for a, b in zip(expected, written, strict=True)],
        "empty": [float(not answer.strip()) for answer in written],
    }


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard error of the mean (0 for a single value)."""
    array = np.asarray(values, dtype=np.float64)
    error = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else 0.0
    return float(array.mean()), error
