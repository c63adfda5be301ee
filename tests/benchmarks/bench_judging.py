"""Evaluation against a bare transformers loop on the same batch plan; the queue and a leaderboard at 10,000 rows.

One JSON line a figure. Run from the repository root: python -m tests.benchmarks.bench_judging
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROWS = 10_000
TURNS = 3


def line(figure: str, value: float, unit: str, peer: float | None = None, target: float | None = None) -> None:
    ratio = round(value / peer, 3) if peer else None
    print(json.dumps({"benchmark": figure, "value": round(value, 2), "unit": unit, "peer": peer and round(peer, 2),
                      "ratio": ratio, "target": target}), flush=True)  # fmt: skip


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def engine() -> None:
    """MiniLM and eight LoRA adapters on one task: ours against tokenising once and calling the model over the same
    batches, adapter by adapter, with peft's own set_adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from adapters.runtime.quiet import quiet_and_offline
    from merges.demo import texts
    from merges.demo.bases import MINILM, write_base
    from merges.evaluation.harness import EvaluationSettings, LocalTask, Panel
    from merges.training.settings import Settings
    from merges.training.teach import teach

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = write_base(MINILM, Path(folder) / "base")
        made = texts.splits(texts.task_named("field-kind"))
        task = LocalTask(tuple(made.labels), made.test, made.train, name="bench/field-kind")
        settings = EvaluationSettings(batch_size=32, max_length=64, draws=50)
        folders = []
        for seed in range(8):
            folders.append(Path(folder) / f"a{seed}")
            teach(base, made.train[:48], Settings(epochs=1, batch_size=16, max_length=64, seed=seed), folders[-1])

        with quiet_and_offline():
            tokenizer = AutoTokenizer.from_pretrained(base)
            plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(made.labels))
            model = PeftModel.from_pretrained(plain, str(folders[0]), adapter_name="a0")
            for number, path in enumerate(folders[1:], start=1):
                model.load_adapter(str(path), adapter_name=f"a{number}")
        model.eval()
        order = sorted(range(len(task.test)), key=lambda index: len(task.test[index].text))
        parts = [order[start : start + 32] for start in range(0, len(order), 32)]

        def batches() -> list[dict[str, torch.Tensor]]:
            return [
                tokenizer(
                    [task.test[i].text for i in part], truncation=True, max_length=64, padding=True, return_tensors="pt"
                )
                for part in parts
            ]

        def forward(names: list[str], ready: list[dict[str, torch.Tensor]]) -> None:
            with torch.inference_mode():
                for name in names:
                    model.set_adapter(name)
                    for batch in ready:
                        model(**batch).logits.argmax(-1).tolist()

        panel = Panel(base, max_length=64)
        panel.judge(task, folders[0], settings=settings)  # warm
        ours_one, bare_one, ours_eight, passes = [], [], [], []
        for _ in range(TURNS):
            bare_one.append(timed(lambda: forward(["a0"], batches())))
            ours_one.append(timed(lambda: Panel.judge(_fresh(panel), task, folders[0], settings=settings)))
            ready = batches()
            passes.append(timed(lambda: forward([f"a{n}" for n in range(8)], ready)))
            _fresh(panel)
            ours_eight.append(timed(lambda: [panel.judge(task, path, settings=settings) for path in folders]))
    n = len(task.test)
    line("evaluation throughput, MiniLM + LoRA, one adapter (with tokenising, attaching, statistics)",
         n / statistics.median(ours_one), "texts/s", n / statistics.median(bare_one), 0.9)  # fmt: skip
    line("eight adapters over one base, against their forward passes alone", statistics.median(ours_eight), "s",
         statistics.median(passes), 1.3)  # fmt: skip


def _fresh(panel: object) -> object:
    """Forget tokenised texts and the attached adapter, so that a turn begins as a job does."""
    panel._prepared.clear()  # type: ignore[attr-defined]
    if panel._attached is not None:  # type: ignore[attr-defined]
        panel.runtime.detach("subject")  # type: ignore[attr-defined]
        panel._attached = None  # type: ignore[attr-defined]
    return panel


def pages() -> None:
    """Server time of the queue and of a leaderboard with 10,000 rows behind them."""
    from django.db import connection
    from django.test import Client

    from hub.accounts.models import Role, create_person
    from hub.repos.models import Kind, Ref, Repo
    from hub.review.models import ChangeRequest, Check, QueueReason
    from merges.models import Evaluation
    from tests.people import PASSWORD

    now = time.time_ns()
    mary = create_person(name=f"mary{now}", email="m@example.org", password=PASSWORD, role=Role.MAINTAINER)
    bob = create_person(name=f"bob{now}", email="b@example.org", password=PASSWORD)
    from django.utils import timezone

    repos = Repo.objects.bulk_create([Repo(owner=bob, name=f"r{n}", head="a" * 40, facts={"trained_parameters": 1000 + n})
                                      for n in range(500)])  # fmt: skip
    requests = ChangeRequest.objects.bulk_create([
        ChangeRequest(repo=repos[n % 500], number=n // 500 + 1, title=f"Change {n}", author=bob, state="open", base="a" * 40,
                      opened_at=timezone.now(), due_at=timezone.now()) for n in range(ROWS)
    ])  # fmt: skip
    Ref.objects.bulk_create([Ref(repo=row.repo, name=row.ref, target=f"{row.pk:040x}") for row in requests])
    QueueReason.objects.bulk_create([QueueReason(change_request=row, reason="proposal") for row in requests])
    Check.objects.bulk_create([Check(repo=row.repo, sha=f"{row.pk:040x}", name="card", verdict="pass", summary="ok")
                               for row in requests])  # fmt: skip
    task = Repo.objects.create(owner=bob, name="task", kind=Kind.TASK, head="b" * 40)
    more = Repo.objects.bulk_create([Repo(owner=bob, name=f"s{n}", head="a" * 40, facts={"trained_parameters": 1000 + n})
                                     for n in range(ROWS - 500)])  # fmt: skip
    Evaluation.objects.bulk_create([
        Evaluation(subject=repo, subject_sha="a" * 40, task=task, task_sha=task.head, score=(n * 7919 % 1000) / 1000,
                   low=max(0, (n * 7919 % 1000) / 1000 - 0.03), high=(n * 7919 % 1000) / 1000 + 0.03, n=500,
                   standard_error=0.015) for n, repo in enumerate([*repos, *more])
    ])  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    browser = Client()
    assert browser.login(username=mary.name, password=PASSWORD)
    for figure, where in (("queue page, 10,000 items", "/review"),
                          ("queue page, 10,000 items, filtered by reason", "/review?reason=proposal&risk=low"),
                          ("leaderboard, 10,000 evaluations", f"/leaderboards/{bob.name}/task")):  # fmt: skip
        browser.get(where)
        assert browser.get(where).status_code == 200
        times = [timed(lambda: browser.get(where)) * 1000 for _ in range(7)]
        line(figure, statistics.median(times), "ms", target=150)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    engine()
    from tests import services

    services.prepare()
    with services.running():
        import django

        django.setup()
        from django.db import connections
        from django.test.utils import setup_databases, setup_test_environment, teardown_databases

        setup_test_environment()
        database = {"NAME": f"bench_{services.RUN}", "TEMPLATE": services.template_database()}
        connections["default"].settings_dict["TEST"].update(database)
        made = setup_databases(verbosity=0, interactive=False)
        try:
            pages()
        finally:
            teardown_databases(made, verbosity=0)


if __name__ == "__main__":
    main()
