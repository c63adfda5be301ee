"""What a merge reads, brought near: adapters and small files into folders; whole models stay in the store.

Large weights are read in ranges while the merge needs them (`merges.running.ahead`), so that no worker's disk has to
hold them. What was fetched before is read here; what is stored only as a prediction of other files is rebuilt here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.catalog import local, manifests
from hub.accounts.actor import Actor
from hub.jobs.running import JobFailed
from hub.repos import trees
from hub.repos.models import Kind
from hub.store import reading
from hub.store.models import Blob
from merges.recipes import Recipe
from merges.work.discretion import Progress
from merges.work.subjects import BadRequest, Pinned, pin, weights_sha256

if TYPE_CHECKING:
    from merges.running import LocalAdapter
    from merges.running.ahead import Remote

FILES = ("adapter_config.json", "adapter_model.safetensors", "labels.json")
WORTH_IT = 32 << 20
"""Weights of fewer bytes are fetched whole."""


@dataclass(frozen=True)
class Fetched:
    """A recipe's inputs as their reader may read them now, in its order, and the base if the recipe needs it."""

    pinned: list[Pinned]
    inputs: list[LocalAdapter]
    base: LocalAdapter | None


def fetch(recipe: Recipe, actor: Actor, scratch: Path, progress: Progress, done: ExitStack) -> Fetched:
    """Bring near what a recipe names; what is left in the store can be read until `done` ends.

    Raises JobFailed for what is gone or hidden, StoreError, WrongBytes.
    """
    pinned, ground = [], None
    for entry in recipe.inputs:
        pinned.append(still_readable(entry.adapter, entry.revision, actor, entry.whole))
    if recipe.base is not None and (recipe.whole or recipe.select is not None):
        ground = still_readable(recipe.base.model, recipe.base.revision, actor, True)
    places = [(item, scratch / f"input-{number}", entry.whole, True)
              for number, (item, entry) in enumerate(zip(pinned, recipe.inputs, strict=True))]  # fmt: skip
    if ground is not None:
        places.append((ground, scratch / "base", True, recipe.select is None))  # what is tuned on it loads it whole
    left = [_left_there(item) if whole and may else {} for item, _, whole, may in places]
    remote = _remotes(left, done)
    near = []
    for (item, folder, whole, _), there in zip(places, remote, strict=True):
        progress(0, 1, f"Fetching {item.name}")
        is_input = item is not ground
        wanted = (is_checkpoint_file if whole else is_adapter_file) if is_input else local.wants_everything
        local.materialise(item.repo, item.commit, folder, _but(there, wanted))
        near.append(_near(item, folder, whole, there))
    return Fetched(pinned, near[: len(pinned)], near[-1] if ground is not None else None)


def _but(left: Mapping[str, object], wanted: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda path: path not in left and wanted(path)


def _near(item: Pinned, folder: Path, whole: bool, there: Mapping[str, Remote]) -> LocalAdapter:
    from merges.running import LocalAdapter

    return LocalAdapter(item.name, folder, weights_sha256(item) if whole else None, remote=there)


def _left_there(item: Pinned) -> dict[str, Blob]:
    """The large weights of a whole model that are not at hand and can be read in ranges."""
    files = trees.list_files(item.repo, item.commit)
    return {
        path: file.blob
        for path, file in files.items()
        if path.endswith(".safetensors") and file.blob is not None and file.blob.size >= WORTH_IT
        and (file.blob.whole or file.blob.xet_hash) and not local.at_hand(file.blob)
    }  # fmt: skip


def _remotes(left: list[dict[str, Blob]], done: ExitStack) -> list[dict[str, Remote]]:
    from merges.running.ahead import Budget, Remote
    from merges.running.pool import most_threads

    budget = Budget(sum(map(len, left)), most_threads())
    done.callback(budget.close)
    hashes = manifests.tensor_hashes({blob.sha256 for group in left for blob in group.values()})
    result = []
    for group in left:
        files = {}
        for path, blob in group.items():
            reader = reading.range_reader(blob)
            assert reader is not None
            files[path] = Remote(blob.size, reader, budget, hashes.get(blob.sha256, {}) if blob.whole else {})
        result.append(files)
    return result


def still_readable(name: str, revision: str | None, actor: Actor, whole: bool) -> Pinned:
    """The repo at its pinned commit, with the rights of now. Raises JobFailed if it is gone or hidden."""
    try:
        return pin(name, actor, kinds=(Kind.BASE if whole else Kind.ADAPTER,), revision=revision)
    except BadRequest as error:
        raise JobFailed(f"An input is no longer there for you: {error}") from error


def is_adapter_file(path: str) -> bool:
    """What a merge reads of an adapter."""
    return path in FILES or path.startswith(("heads/", "statistics/"))


def is_checkpoint_file(path: str) -> bool:
    """What a merge reads of a whole checkpoint."""
    return path == "config.json" or path.endswith((".safetensors", ".safetensors.index.json"))
