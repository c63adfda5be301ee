"""Exact cosines of updates between an adapter and those whose sketches are nearest: the evidence for near-copies."""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.db.models import Q
from pgvector.django import CosineDistance

from adapters.catalog import local
from adapters.embeddings.updates import Update, likeness, read_update
from adapters.formats.errors import FormatError
from adapters.models import Embedding, Kinship
from hub.repos.models import Commit, Repo

CANDIDATES = 20
SHOWN = 6
FILES = ("adapter_config.json", "adapter_model.safetensors")


def against_nearest(repo: Repo, row: Embedding, update: Update) -> list[Kinship]:
    """Exact likeness with the adapters of the same base whose sketches are nearest (at most 20)."""
    others = (
        Embedding.objects.filter(method=row.method, version=row.version, probe=row.probe)
        .exclude(repo=repo)
        .select_related("repo__owner")
        .order_by(CosineDistance("vector", row.vector))[:CANDIDATES]
    )
    found = []
    for other in others:
        known = _update_of(other)
        if known is None:
            continue
        alike = likeness(update, known)
        left, right = sorted((repo, other.repo), key=lambda item: item.pk)
        places = [[name, round(value, 4)] for name, value in alike.places[:SHOWN]]
        found.append(Kinship(left=left, right=right, cosine=alike.cosine, places=places))
    return found


def forget(repo: Repo) -> None:
    """Drop what was known of a repo's older weights."""
    Kinship.objects.filter(Q(left=repo) | Q(right=repo)).delete()


def _update_of(row: Embedding) -> Update | None:
    commit = Commit.objects.filter(repo=row.repo, sha=row.sha).first()
    if commit is None:
        return None
    with tempfile.TemporaryDirectory(prefix="tessera-kin-") as folder:
        try:
            local.materialise(row.repo, commit, Path(folder), lambda path: path in FILES)
            return read_update(Path(folder))
        except (FormatError, FileNotFoundError):
            return None
