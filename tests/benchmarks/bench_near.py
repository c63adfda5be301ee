"""Recall and time of nearest neighbours in the database: HNSW beside the exact order, over synthetic adapters.

Run from the repository root: python -m tests.benchmarks.bench_near [number of adapters]
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np

from tests import services

services.prepare()
WIDTH, ASKED = 384, 40


def say(figure: str, value: float, unit: str, peer: float | None = None) -> None:
    ratio = round(value / peer, 3) if peer else None
    print(
        json.dumps(
            {
                "benchmark": figure,
                "value": round(value, 4),
                "unit": unit,
                "peer": peer and round(peer, 4),
                "ratio": ratio,
            }
        ),
        flush=True,
    )


def fill(count: int) -> np.ndarray:
    """Adapters in some hundred groups, one in ten private; returns their vectors."""
    from adapters.models import Embedding
    from hub.accounts.models import create_person
    from hub.repos.models import Repo

    owner = create_person(name="alice", email="alice@example.org", password="correct horse battery")
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(200, WIDTH))
    vectors = centres[chance.integers(0, 200, count)] + 0.8 * chance.normal(size=(count, WIDTH))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    repos = Repo.objects.bulk_create(
        [Repo(owner=owner, name=f"a{n}", head="0" * 40, private=n % 10 == 0) for n in range(count)], batch_size=2000
    )
    rows = (
        Embedding(repo=repo, sha="0" * 40, method="texts", version=1, probe="p" * 64, vector=vector, origin="examples")
        for repo, vector in zip(repos, vectors.tolist(), strict=True)
    )
    Embedding.objects.bulk_create(rows, batch_size=1000)
    return vectors


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with services.running(), services.database(f"near_{services.RUN}"):
        os.environ["DATABASE_URL"] = services.hub_environment(f"near_{services.RUN}")["DATABASE_URL"]
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
        import django

        django.setup()
        from django.db import connection

        from adapters.models import Embedding
        from adapters.search.relatives import nearest_rows
        from hub.accounts.actor import NOBODY

        vectors = fill(count)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE adapters_embedding; ANALYZE repos_repo")
        like = Embedding(method="texts", version=1, probe="p" * 64)
        chance = np.random.default_rng(1)
        asked = (
            vectors[chance.integers(0, count, ASKED)]
            + 0.3 * chance.normal(size=(ASKED, WIDTH)).astype(np.float32) / WIDTH**0.5
        )
        found: dict[str, list[list[int]]] = {}
        spent: dict[str, float] = {}
        for way, index in (("index", "on"), ("exact", "off")):
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SET enable_indexscan = {index}; SET enable_seqscan = {'off' if index == 'on' else 'on'}"
                )
            nearest_rows(NOBODY, like, asked[0], None, exclude=None, most=10)
            times, found[way] = [], []
            for vector in asked:
                started = time.perf_counter()
                found[way].append([row.pk for row in nearest_rows(NOBODY, like, vector, None, exclude=None, most=10)])
                times.append(time.perf_counter() - started)
            spent[way] = float(np.median(times)) * 1000
        pairs = zip(found["index"], found["exact"], strict=True)
        recall = float(np.mean([len(set(one) & set(other)) / 10 for one, other in pairs]))
        say(f"recall@10 of the index, {count:,} adapters, a tenth private", recall, "share")
        say(f"ten nearest, {count:,} adapters", spent["index"], "ms", spent["exact"])
        connection.close()


if __name__ == "__main__":
    main()
