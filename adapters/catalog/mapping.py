"""The map: new heads are laid in beside their nearest, and the job `adapters.map` draws it anew when it has grown.

Only what everybody may read shapes the drawing, so nobody can tell from it that something else is there.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Count, Q
from pgvector.django import CosineDistance

from adapters.embedding_models import VectorDims
from adapters.embeddings.layout import NEIGHBOURS, lay_into, lay_out
from adapters.models import Embedding, MapPoint
from hub.accounts.actor import NOBODY
from hub.jobs.queue import enqueue
from hub.jobs.running import Running
from hub.repos.models import Repo

METHOD = "texts"
GROWN = 0.5
"""The map is drawn anew when as many public points as this share of it were laid in since."""
MOST = 20_000


def lay_in(repo: Repo) -> None:
    """Give a newly placed repo its point beside its nearest, whatever the map holds reading no more than those few;
    nobody moves. Asks for a new drawing when many came. In a transaction."""
    row = Embedding.objects.filter(repo=repo, method=METHOD).select_related("source").first()
    MapPoint.objects.filter(repo=repo).delete()
    if row is None:
        return
    same = (
        _public()
        .alias(width=VectorDims("embedding__vector"))
        .filter(fitted=True, embedding__probe=row.probe, width=len(list(row.vector)))
    )
    nearest = same.order_by(CosineDistance("embedding__vector", row.vector)).select_related("embedding")
    near = list(nearest[:NEIGHBOURS])
    drawn = np.asarray([list(point.embedding.vector) for point in near], np.float32)
    points = np.asarray([[point.x, point.y] for point in near])
    x, y = lay_into(np.asarray(list(row.vector), np.float32), drawn, points, seed=repo.pk.int % 2**32)
    layout = near[0].layout if near else 0
    MapPoint.objects.create(repo=repo, embedding=row, x=x, y=y, layout=layout)
    count = _public().aggregate(drawn=Count("pk", filter=Q(fitted=True)), laid=Count("pk", filter=Q(fitted=False)))
    if count["laid"] > GROWN * count["drawn"]:
        enqueue(
            "adapters.map", title="Draw the map anew", arguments={},
            key=f"map:{layout}:{count['drawn']}:{count['laid']}",
        )  # fmt: skip


def run(running: Running) -> dict[str, Any]:
    """The job: draw all public points anew, starting from where they are; others are laid in again."""
    rows = list(_public_rows().select_related("repo")[:MOST])
    if not rows:
        return {"points": 0}
    # Vectors of another encoder, or of another width, have no distance to the others: the most common stay.
    (probe, width), _count = Counter((row.probe, len(list(row.vector))) for row in rows).most_common(1)[0]
    rows = [row for row in rows if (row.probe, len(list(row.vector))) == (probe, width)]
    known = {point.repo_id: (point.x, point.y) for point in MapPoint.objects.filter(fitted=True)}
    start = np.asarray([known.get(row.repo_id, (np.nan, np.nan)) for row in rows])
    vectors = np.asarray([list(row.vector) for row in rows], np.float32)
    running.progress(0, 1, f"Arranging {len(rows)} points")
    points = lay_out(vectors, start if known else None)
    with running.adopt(), transaction.atomic():
        layout = (MapPoint.objects.order_by("-layout").values_list("layout", flat=True).first() or 0) + 1
        others = list(
            Embedding.objects.alias(width=VectorDims("vector"))
            .filter(method=METHOD, probe=probe, width=width)
            .exclude(pk__in=[row.pk for row in rows])[:MOST]
        )
        MapPoint.objects.all().delete()
        made = [
            MapPoint(repo_id=row.repo_id, embedding=row, x=float(x), y=float(y), layout=layout, fitted=True)
            for row, (x, y) in zip(rows, points, strict=True)
        ]
        for row in others:
            x, y = lay_into(np.asarray(list(row.vector)), vectors, points, seed=row.repo_id.int % 2**32)
            made.append(MapPoint(repo_id=row.repo_id, embedding=row, x=x, y=y, layout=layout))
        MapPoint.objects.bulk_create(made)
    return {"points": len(made), "layout": layout}


def _public_rows() -> Any:
    return Embedding.objects.visible_to(NOBODY).filter(method=METHOD).order_by("pk")


def _public() -> Any:
    return MapPoint.objects.filter(embedding__in=_public_rows())
