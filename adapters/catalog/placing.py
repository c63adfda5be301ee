"""The job `adapters.embed`: place one repo's head among the others by every method its files allow."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.db import transaction

from adapters.catalog import encoder, examples, kinship, local, mapping
from adapters.embeddings import question, task2vec, texts, tuned
from adapters.embeddings.declaration import EmbeddingFault, Material, Method, Placed
from adapters.embeddings.updates import read_update
from adapters.formats.errors import FormatError
from adapters.models import Embedding, Inspection, Kinship
from adapters.runtime.errors import RuntimeFault
from hub.jobs.models import Job
from hub.jobs.running import Running
from hub.repos import trees
from hub.repos.models import Commit, Kind, Repo
from hub.review.checks import write_check

Progress = Callable[[int, int, str], None]
KEPT: tuple[Method, ...] = (texts.METHOD, tuned.METHOD, question.METHOD, task2vec.METHOD)
"""The methods whose vectors the hub keeps; the others are for comparison."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass
class Placement:
    """What was worked out for one head, before it is written down in one transaction."""

    rows: list[Embedding] = field(default_factory=list)
    kin: list[Kinship] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run(running: Running) -> dict[str, Any]:
    """The job. A head that has moved on is left to the job of the newer commit."""
    repo = Repo.objects.select_related("owner").get(pk=running.arguments["repo"])
    commit = Commit.objects.filter(repo=repo, sha=running.arguments["sha"]).first()
    if commit is None or repo.head != commit.sha:
        return {"skipped": "The head has moved on."}
    placement = place(repo, commit, running.progress)
    with running.adopt():
        write(repo, commit, placement, running.job)
    return {"methods": [row.method for row in placement.rows], "notes": placement.notes}


def place(repo: Repo, commit: Commit, progress: Progress) -> Placement:
    """Work out every vector a head's files allow, writing nothing."""
    made = Placement()
    with tempfile.TemporaryDirectory(prefix="tessera-embed-") as folder:
        scratch = Path(folder)
        if repo.kind == Kind.ADAPTER:
            _tuned(repo, commit, scratch, made)
        try:
            given = examples.find(repo, commit, scratch)
            _texts(repo, commit, given, made, progress)
        except (EmbeddingFault, FormatError, RuntimeFault, encoder.NoEncoder) as error:
            made.notes.append(str(error))
    return made


def write(repo: Repo, commit: Commit, made: Placement, job: Job | None) -> None:
    """Replace a repo's rows by new ones, and say in a check what could not be placed and why."""
    with transaction.atomic():
        Embedding.objects.filter(repo=repo).delete()
        kinship.forget(repo)
        for row in made.rows:
            row.job = job
        Embedding.objects.bulk_create(made.rows)
        Kinship.objects.bulk_create(made.kin, ignore_conflicts=True)
        mapping.lay_in(repo)
        placed = ", ".join(row.method for row in made.rows) or "nothing"
        write_check(
            repo=repo, sha=commit.sha, name="placed", verdict="warn" if made.notes else "pass",
            summary=(" ".join(made.notes) or f"Placed among the others by {placed}.")[:500], job=job,
        )  # fmt: skip


def is_current(repo: Repo) -> bool:
    """Whether a repo's head is placed by the present versions of the methods it has vectors of."""
    rows = list(Embedding.objects.filter(repo=repo).values_list("sha", "method", "version"))
    versions = {method.name: method.version for method in KEPT}
    return bool(rows) and all(sha == repo.head and versions.get(method) == version for sha, method, version in rows)


def base_identity(repo: Repo, commit: Commit) -> str:
    """What an adapter's weights hang on: the hash of its base's weights, else of the base's name as claimed."""
    row = Inspection.objects.filter(repo=repo, sha=commit.sha).first()
    facts = row.facts if row else {}
    base = Repo.objects.filter(kind=Kind.BASE).with_id(str(facts.get("base") or "/")).first()
    head = Commit.objects.filter(repo=base, sha=facts.get("base_sha", "")).first() if base else None
    if base is None or head is None:
        return hashlib.sha256(f"claimed:{facts.get('base_model', '')}".encode()).hexdigest()
    files = trees.list_files(base, head)
    weights = sorted(file.blob.sha256 for path, file in files.items() if file.blob and path.endswith(".safetensors"))
    return hashlib.sha256("\n".join(weights).encode()).hexdigest()


def _tuned(repo: Repo, commit: Commit, scratch: Path, made: Placement) -> None:
    files = local.materialise(repo, commit, scratch / "adapter", lambda path: path in ADAPTER_FILES)
    if len(files) < len(ADAPTER_FILES):
        return
    try:
        started = time.perf_counter()
        update = read_update(scratch / "adapter")
        placed = tuned.embed(Material(update=update))
    except (FormatError, EmbeddingFault) as error:
        made.notes.append(str(error))
        return
    probe = base_identity(repo, commit)
    row = _row(repo, commit, tuned.METHOD, probe, placed, "weights", time.perf_counter() - started, "cpu")
    made.rows.append(row)
    made.kin += kinship.against_nearest(repo, row, update)


def _texts(repo: Repo, commit: Commit, given: examples.Given, made: Placement, progress: Progress) -> None:
    if given.vectors is None and not given.examples:
        return
    runtime, identity = encoder.loaded()
    device = str(runtime.device)
    if given.vectors is not None:
        if given.encoder != identity:
            raise EmbeddingFault(
                f"{examples.VECTORS} names the encoder {given.encoder[:16] or 'none'}, this hub's is {identity[:16]}. "
                "Encode the examples with this hub's encoder (its identity stands at /api/v1/placing)."
            )
        if given.vectors.shape[1] != encoder.width():
            raise EmbeddingFault(
                f"{examples.VECTORS} holds vectors of {given.vectors.shape[1]:,} numbers, this hub's encoder makes "
                f"{encoder.width():,}. Encode the examples with this hub's encoder (what it is stands at "
                "/api/v1/placing)."
            )
        placed = texts.from_rows(given.vectors[: texts.MOST])
        made.rows.append(_row(repo, commit, texts.METHOD, identity, placed, given.origin, 0.0, device, given))
        return
    if copied := _of_the_task(repo, commit, given, identity):
        made.rows += copied
        return
    known: dict[str, Any] = {}

    def encode(rows: Sequence[str]) -> Any:
        fresh = [row for row in dict.fromkeys(rows) if row not in known]
        known.update(zip(fresh, runtime.features(fresh, normalise=True, progress=progress), strict=True))
        return np.stack([known[row] for row in rows])

    material = Material(given.examples, encode, probe=runtime, progress=progress)
    for method in (texts.METHOD, question.METHOD, task2vec.METHOD):
        if "labels" in method.needs and not _asks_something(given):
            continue
        started = time.perf_counter()
        placed = method.embed(material)
        spent = time.perf_counter() - started
        made.rows.append(_row(repo, commit, method, identity, placed, given.origin, spent, device, given))


def _of_the_task(repo: Repo, commit: Commit, given: examples.Given, probe: str) -> list[Embedding]:
    """The task's own rows, where an adapter has no examples but its task's, and the task is placed at that commit."""
    if given.source is None:
        return []
    versions = {method.name: method.version for method in KEPT}
    rows = list(Embedding.objects.filter(repo=given.source, sha=given.source_sha, probe=probe))
    if not rows or any(versions.get(row.method) != row.version for row in rows):
        return []
    for row in rows:
        row.pk, row._state.adding = None, True
        row.repo, row.sha, row.source, row.source_sha, row.seconds = (
            repo,
            commit.sha,
            given.source,
            given.source_sha,
            0.0,
        )
    return rows


def _asks_something(given: examples.Given) -> bool:
    labels = {example.label for example in given.examples}
    return given.labelled and len(labels) > 1 and len(given.examples) >= task2vec.FEWEST


def _row(
    repo: Repo, commit: Commit, method: Method, probe: str, placed: Placed, origin: str, seconds: float, device: str,
    given: examples.Given | None = None,
) -> Embedding:  # fmt: skip
    words = placed.details.pop("texts", [])
    packed = None if placed.rows is None else np.asarray(placed.rows, dtype="<f2").tobytes()
    return Embedding(
        repo=repo, sha=commit.sha, method=method.name, version=method.version, probe=probe, vector=placed.vector,
        rows=packed, count=0 if placed.rows is None else len(placed.rows), texts=[text[:300] for text in words],
        source=given.source if given else None, source_sha=given.source_sha if given else "", origin=origin,
        details=placed.details, seconds=round(seconds, 4), device=device,
    )  # fmt: skip
