"""Previews of merges from stored sketches, and the job that makes a sketch of every adapter that is published."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from adapters.catalog import local
from hub.accounts.actor import Actor
from hub.jobs.queue import enqueue
from hub.jobs.running import Running
from hub.repos import trees
from hub.repos.models import Commit, Ref, Repo
from merges.models import MergeSketch
from merges.recipes import Recipe, RecipeError
from merges.work.fetching import FILES
from merges.work.merging import look_at
from merges.work.subjects import Pinned

WEIGHTS = "adapter_model.safetensors"
MOST_PREVIEWED = 32
"""Inputs that a web process looks at; with more, a merge is linted but not previewed."""


def on_commit(repo: Repo, commit: Commit, ref: Ref) -> None:
    """Queue the sketch of newly published adapter weights, once for the same bytes."""
    paths = trees.flatten(repo, commit.tree)
    if WEIGHTS not in paths or "adapter_config.json" not in paths:
        return
    enqueue(
        "merges.sketch", title=f"Sketch {repo.full_name} for previews of merges",
        arguments={"repo": str(repo.pk), "sha": commit.sha}, owner=commit.author, repo=repo,
        key=f"sketch:{repo.pk}:{paths[WEIGHTS]}:{paths['adapter_config.json']}",
    )  # fmt: skip


def sketch(running: Running) -> dict[str, Any]:
    """The job. An adapter that cannot be merged has no sketch."""
    from merges.running import LocalAdapter
    from merges.running.sketching import pack, sketch_adapter

    repo = Repo.objects.select_related("owner").get(pk=running.arguments["repo"])
    commit = Commit.objects.get(repo=repo, sha=running.arguments["sha"])
    key = sketch_key(Pinned(repo, commit))
    if key is None or MergeSketch.objects.filter(weights_sha256=key).exists():
        return {"sketched": False}
    with tempfile.TemporaryDirectory(prefix="tessera-sketch-") as scratch:
        local.materialise(repo, commit, Path(scratch), lambda path: path in FILES)
        try:
            data = pack(sketch_adapter(LocalAdapter(repo.full_name, Path(scratch))))
        except RecipeError:
            return {"sketched": False}
    with running.adopt():
        MergeSketch.objects.update_or_create(weights_sha256=key, defaults={"data": data})
    return {"sketched": True, "bytes": len(data)}


def sketch_key(pinned: Pinned) -> str | None:
    """What a sketch is of: the weights and their configuration together."""
    paths = trees.flatten(pinned.repo, pinned.commit.tree)
    named = {path: paths[path] for path in ("adapter_config.json", WEIGHTS) if path in paths}
    if len(named) < 2:
        return None
    files = trees.load_files(pinned.repo, named)
    digest = hashlib.sha256()
    for path in sorted(files):
        file = files[path]
        digest.update(bytes.fromhex(file.blob.sha256) if file.blob else hashlib.sha256(file.data).digest())
    return digest.hexdigest()


def preview_of(actor: Actor, raw: dict[str, Any] | str) -> dict[str, Any]:
    """What a recipe's merge would be like: {problems, preview or None, waiting: inputs without a sketch yet}.

    Raises RecipeError, BadRequest.
    """
    recipe, pinned, problems = look_at(actor, raw)
    answer: dict[str, Any] = {"problems": problems, "preview": None, "waiting": []}
    adapters = [(entry, item) for entry, item in zip(recipe.inputs, pinned, strict=True) if not entry.whole]
    if len(adapters) < len(pinned) or len(adapters) > MOST_PREVIEWED:
        return answer
    keys = [sketch_key(item) for _, item in adapters]
    rows = {
        row.weights_sha256: row for row in MergeSketch.objects.filter(weights_sha256__in=[key for key in keys if key])
    }
    answer["waiting"] = [item.name for (_, item), key in zip(adapters, keys, strict=True) if key not in rows]
    if not answer["waiting"] and len(adapters) > 1:
        answer["preview"] = _drawn(recipe, [bytes(rows[key].data) for key in keys if key])
    return answer


def _drawn(recipe: Recipe, stored: list[bytes]) -> dict[str, Any]:
    from merges.running.previewing import preview
    from merges.running.sketching import unpack

    return preview(recipe, [unpack(data) for data in stored])
