"""Memory really runs out under a training, in the process of its own that a worker gives it: no mocks."""

import multiprocessing.forkserver
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from django.db import connection
from transformers import BertConfig, BertModel

from hub.jobs import apart
from hub.jobs.models import Job, State
from merges.models import Teaching
from merges.work.teaching.asking import Order, ask_for_teaching
from tests.people import People
from tests.publishing import publish
from tests.pure.tiny_models import WORDS, write_tokenizer
from tests.services import hub_environment

MIB = 2**20
LONG = 500
"""Tokens of a text: a step on the base below takes 32 MiB for each."""
SETTINGS = {
    "epochs": 1, "batch_size": 32, "max_length": 512, "folds": 0, "warm_head": False, "evenly": False, "rank": 1,
    "target_modules": ["query", "output.dense"],
}  # fmt: skip


def write_hungry(folder: Path) -> Path:
    """An encoder of little work and much memory: one thin layer with a very wide middle."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS) + 4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=4096,
        max_position_embeddings=512,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def texts(count: int) -> list[dict[str, str]]:
    """Long texts, no two alike."""
    return [
        {"text": " ".join([*["good" if row % 2 else "bad"] * (row + 1), *(WORDS[n % 9] for n in range(LONG - row))]),
         "label": "yes" if row % 2 else "no"}
        for row in range(count)
    ]  # fmt: skip


def fresh() -> None:
    """The server that processes are forked from keeps the database and limits it was started with: end it."""
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def fresh_server() -> Iterator[None]:
    fresh()
    yield
    fresh()


def taught(people: People, name: str, mebibytes: int) -> Teaching:
    """A training done as a worker does it, with so much memory."""
    row = ask_for_teaching(
        actor=people.actor("alice"),
        order=Order(target=f"alice/{name}", given=texts(32), settings=SETTINGS, start="base", test_share=0.0),
    )
    environment = hub_environment(
        connection.settings_dict["NAME"], LIMIT_TEACHING_BYTES=str(mebibytes * MIB), OMP_NUM_THREADS="1"
    )
    with patch.dict(os.environ, environment), patch.object(apart, "LOOK_SECONDS", 0.2):
        apart.run_job(str(row.job_id), "worker")
    row.refresh_from_db()
    row.job = Job.objects.get(pk=row.job_id)
    return row


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_where_memory_runs_out_the_batch_is_halved_once_and_then_it_ends(people: People, tmp_path: Path) -> None:
    publish(people.acme, "hungry", write_hungry(tmp_path / "base"), by=people.alice)
    enough = taught(people, "enough", 1250)  # 32 examples at a time want 1.5 GiB, 16 want 1 GiB
    assert enough.job.state == State.SUCCEEDED, enough.job.error
    assert enough.report["batch_size"] == 16
    assert enough.result_sha
    fresh()
    little = taught(people, "little", 800)
    assert little.job.state == State.FAILED
    assert "Memory ran out also with 16 examples at a time." in little.job.error
    assert little.result_sha == ""
    fresh()
    none = taught(people, "none", 300)  # not even the libraries fit
    assert none.job.state == State.FAILED
    assert "more than the 300 MiB of memory" in none.job.error
