"""lm-evaluation-harness as a runner: the real one where LM_EVAL_PYTHON names it, and what is said where it is not."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.conf import settings
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from hub.accounts.actor import actor_for
from hub.jobs.models import State
from hub.repos.models import Kind, Repo
from merges.evaluation.declared import EvaluationFault, EvaluationSettings, LocalTask
from merges.models import Evaluation
from merges.training.settings import Settings
from merges.training.teach import teach
from merges.work import lm_eval_run
from merges.work.evaluating import ask_for_evaluation
from merges.work.subjects import BadRequest
from tests.merges.conftest import TASK_CARD, write_task
from tests.people import People
from tests.publishing import do_jobs, publish
from tests.pure.tiny_models import opinions, write_causal

REAL = os.environ.get("LM_EVAL_PYTHON", "")
TASK = LocalTask(("yes", "no"), opinions(24, 100), opinions(40), (), "alice/opinions")
OWN = EvaluationSettings(lm_eval="own-rows", max_length=48)


def quiet(_done: int, _total: int, _message: str) -> None:
    """No progress is shown."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_causal(tmp_path_factory.mktemp("causal"))
    told = json.loads((folder / "tokenizer.json").read_text())
    told["post_processor"] = None  # no special tokens: where they stand is a matter of taste between harnesses
    (folder / "tokenizer.json").write_text(json.dumps(told))
    return folder


def by_hand(base: Path, adapter: Path | None = None) -> float:
    """Accuracy by the sum of log p of " label" behind each prompt, as lm-eval defines `acc`."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    model = (PeftModel.from_pretrained(model, adapter) if adapter else model).eval()
    right = []
    for row in TASK.test:
        sums = []
        for label in TASK.labels:
            head = tokenizer(f"{row.text}\nLabel:")["input_ids"]
            whole = tokenizer(f"{row.text}\nLabel: {label}")["input_ids"]
            with torch.no_grad():
                logs = torch.log_softmax(model(torch.tensor([whole[:-1]])).logits[0], -1)
            tail = whole[len(head) :]
            sums.append(float(sum(logs[len(head) - 1 + place, token] for place, token in enumerate(tail))))
        right.append(TASK.labels[int(np.argmax(sums))] == row.label)
    return float(np.mean(right))


@pytest.mark.skipif(not REAL, reason="LM_EVAL_PYTHON names no Python with lm-eval")
def test_the_real_one_agrees_with_the_sums_by_hand(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "LM_EVAL_PYTHON", REAL)
    score = lm_eval_run.judge(base, None, TASK, OWN, tmp_path / "one", quiet)
    assert score.n == 24 and score.scores["accuracy"] == pytest.approx(by_hand(base), abs=0.01)
    adapter = tmp_path / "adapter"
    teach(base, opinions(40), Settings(epochs=6, batch_size=8, learning_rate=1e-2), adapter, base_name="acme/tiny")
    taught = lm_eval_run.judge(base, adapter, TASK, OWN, tmp_path / "two", quiet)
    assert taught.scores["accuracy"] == pytest.approx(by_hand(base, tmp_path / "two" / "adapter"), abs=0.01)
    assert "lm_eval" in taught.versions
    with pytest.raises(EvaluationFault, match="no network|did not finish"):
        lm_eval_run.judge(base, None, TASK, EvaluationSettings(lm_eval="arc_easy"), tmp_path / "three", quiet)


def test_it_gets_no_secret_and_its_answer_is_read(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the other program: it writes down how it was called, and a result as lm-eval lays it out."""
    script = tmp_path / "python"
    result: dict[str, Any] = {"results": {lm_eval_run.OWN_NAME: {"acc,none": 0.75, "acc_stderr,none": 0.1}},
                              "n-samples": {lm_eval_run.OWN_NAME: {"effective": 24}}}  # fmt: skip
    script.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib, sys\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--output_path') + 1]); out.mkdir()\n"
        "(out / 'called.json').write_text(json.dumps([sys.argv, dict(os.environ)]))\n"
        f"(out / 'results_1.json').write_text({json.dumps(json.dumps(result))})\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(settings, "LM_EVAL_PYTHON", str(script))
    monkeypatch.setenv("SECRET_KEY", "hush")
    score = lm_eval_run.judge(base, None, TASK, OWN, tmp_path / "work", quiet)
    assert (score.scores, score.n, score.standard_error) == ({"accuracy": 0.75}, 24, 0.1)
    words, environment = json.loads((tmp_path / "work" / "out" / "called.json").read_text())
    assert "trust_remote_code=False" in " ".join(words) and environment["HF_HUB_OFFLINE"] == "1"
    assert "SECRET_KEY" not in environment and "hush" not in json.dumps(environment)
    told = json.loads((tmp_path / "work" / f"{lm_eval_run.OWN_NAME}.yaml").read_text())
    assert told["doc_to_choice"] == ["yes", "no"] and "function" not in json.dumps(told)
    script.write_text("#!/bin/sh\necho 'ConnectionError: could not reach the hub' >&2\nexit 1\n")
    with pytest.raises(EvaluationFault, match="no network.*could not reach the hub"):
        lm_eval_run.judge(base, None, TASK, OWN, tmp_path / "again", quiet)


def test_without_it_the_job_says_so(
    people: People, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LM_EVAL_PYTHON", "")
    monkeypatch.setattr(lm_eval_run.importlib.util, "find_spec", lambda _name: None)
    publish(people.acme, "writer", base, by=people.alice, kind=Kind.BASE)
    publish(people.acme, "moods", write_task(tmp_path / "moods"), by=people.alice, kind=Kind.TASK)
    assert TASK_CARD and Repo.objects.count() == 2
    alice = actor_for(people.alice)
    with pytest.raises(BadRequest, match="own-rows"):
        ask_for_evaluation(actor=alice, subject="acme/writer", task="acme/moods", settings={"lm_eval": "../x y"})
    row = ask_for_evaluation(actor=alice, subject="acme/writer", task="acme/moods", settings={"lm_eval": "own-rows"})
    do_jobs()
    row.refresh_from_db()
    assert row.job is not None and row.job.state == State.FAILED and "LM_EVAL_PYTHON" in row.job.error
    assert Evaluation.objects.exclude(score=None).count() == 0
