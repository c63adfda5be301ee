"""The job `adapters.store_smaller`: a checkpoint that others explain is stored as what they leave unexplained.

It is encoded, kept beside its other copy, rebuilt from the store and compared; only then may the other copy go.
A crash at any step leaves the file as it was, and at most a payload that the collection removes.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from django.conf import settings

from adapters.catalog import decoding, explaining, local
from adapters.encoding import encode
from adapters.encoding.offers import Offers
from adapters.formats.errors import FormatError
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos import trees
from hub.repos.models import Commit, GitObject, Kind, Ref, Repo
from hub.store import predicted
from hub.store.models import Blob, BlobState

KIND = "adapters.store_smaller"
UPDATE_FOLDER = "update"
"""Where a commit keeps the update it was made by (see adapters.catalog.updating)."""

WORTH = 0.7
"""What is stored instead may be so large a part of what the file takes by itself; else it is not worth the work."""


def on_commit(repo: Repo, commit: Commit, ref: Ref) -> None:
    """Queue the checkpoints that a commit brought, in its own transaction; the same bytes once."""
    may = settings.PREDICT and repo.kind == Kind.BASE and (commit.parents or repo.card.get("base_model"))
    if not may:
        return
    files = {path: sha for path, sha in trees.flatten(repo, commit.tree).items() if is_checkpoint(path)}
    rows = GitObject.objects.filter(
        repo=repo, sha__in=set(files.values()), large__predicted=False, size__gte=settings.LIMITS["predict_bytes"]
    )
    blobs = dict(rows.exclude(large=None).values_list("sha", "large_id"))
    for path, sha in files.items():
        if sha in blobs:
            enqueue(
                KIND,
                title=f"Store {PurePosixPath(path).name} of {repo.full_name} in less space",
                arguments={"repo": str(repo.pk), "sha": commit.sha, "path": path, "blob": blobs[sha]},
                repo=repo,
                key=f"store_smaller:{blobs[sha]}",
            )


def is_checkpoint(path: str) -> bool:
    """Adapters stay whole: they are small, fetched often, and what others are explained by."""
    folder, _, name = path.rpartition("/")
    return folder != UPDATE_FOLDER and name.endswith(".safetensors") and not name.startswith("adapter_model")


def run(running: Running) -> dict[str, Any]:
    """Encode one file and keep the result if it saves space."""
    wanted = running.arguments
    blob = Blob.objects.filter(pk=wanted["blob"], state=BlobState.PRESENT, predicted=False).first()
    repo = Repo.objects.select_related("owner").filter(pk=wanted["repo"]).first()
    commit = Commit.objects.filter(repo=repo, sha=wanted["sha"]).first()
    if blob is None or repo is None or commit is None:
        return {"skipped": True}
    sides = explaining.gather(repo, commit, wanted["path"], blob)
    if not sides.families:
        return {"skipped": "nothing else explains it"}
    with tempfile.TemporaryFile(prefix="tessera-payload-") as opened:
        payload = cast("BinaryIO", opened)
        made = _encode(running, blob, sides, payload)
        own = predicted.own_bytes(blob)
        if made is None or made.cost > WORTH * own:
            return {"skipped": "it saves too little", "bytes": made.cost if made else 0, "before": own}
        try:
            row = predicted.propose(blob, decoding.NAME, made.recipe, made.inputs, payload, made.size)
        except predicted.CannotPredict as error:
            return {"skipped": str(error)}
    work = 2 * blob.size
    if predicted.rebuilt(row, lambda done: running.progress(blob.size + done, work, "Rebuilding")) != blob.pk:
        predicted.withdraw([row])
        raise JobFailed("The file rebuilt from others differs. It stays stored as it was; nothing was lost.")
    with running.adopt():
        predicted.confirm(row)
    return {"bytes": made.cost, "before": own, "inputs": len(made.inputs)}


@dataclass(frozen=True)
class Made:
    """An encoded file: its recipe, the hashes of its inputs, the bytes of its payload."""

    recipe: bytes
    inputs: list[str]
    size: int

    @property
    def cost(self) -> int:
        """Bytes it takes."""
        return len(self.recipe) + self.size


def _encode(running: Running, blob: Blob, sides: explaining.Sides, payload: BinaryIO) -> Made | None:
    new, work = local.cached(blob), 2 * blob.size
    try:
        known = explaining.inherited(sides)
        paths = sides.paths()
        with Offers(new, paths, sides.nearest_first, explaining.on_families(sides), known) as offers:
            recipe = encode(new, paths, offers, payload, lambda done, _all: running.progress(done, work, "Encoding"))
    except FormatError:
        return None
    small, inputs = explaining.used_only(recipe, sides)
    return Made(small.to_bytes(), inputs, payload.tell())
