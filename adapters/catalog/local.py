"""A revision as a local folder, for workers. Large files come from a cache by hash and are linked, not copied."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from hub.repos import trees
from hub.repos.models import Commit, Repo
from hub.store.blobs import download
from hub.store.models import Blob

WEIGHTS = ".safetensors"


def wants_everything(_path: str) -> bool:
    """The default choice of files."""
    return True


def materialise(
    repo: Repo, commit: Commit, folder: Path, wanted: Callable[[str], bool] = wants_everything
) -> dict[str, Path]:
    """Write the files of a revision into a folder; returns path → local path. Raises WrongBytes, StoreError."""
    written: dict[str, Path] = {}
    for path, file in trees.list_files(repo, commit).items():
        if not wanted(path):
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.blob is None:
            target.write_bytes(file.data)
        else:
            _link(cached(file.blob), target)
        written[path] = target
    return written


def cached(blob: Blob) -> Path:
    """The local copy of a blob, fetched and hashed once. Raises WrongBytes, StoreError."""
    cache, path = _cache(), _place(blob)
    if path.exists():
        os.utime(path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_room(cache, blob.size)
    arriving = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        download(blob, arriving)
        arriving.replace(path)
    finally:
        arriving.unlink(missing_ok=True)
    return path


def at_hand(blob: Blob) -> bool:
    """Is there a local copy already?"""
    return _place(blob).exists()


def _cache() -> Path:
    return Path(settings.STATE) / "cache"


def _place(blob: Blob) -> Path:
    return _cache() / blob.sha256[:2] / blob.sha256


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(source)


def _make_room(cache: Path, size: int) -> None:
    """Drop what was used longest ago until the new file fits the cache's limit. Links in use keep their bytes."""
    files = sorted((path for path in cache.glob("*/*") if path.is_file()), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in files) + size
    for path in files:
        if total <= settings.LIMITS["cache_bytes"]:
            return
        total -= path.stat().st_size
        with suppress(FileNotFoundError):
            path.unlink()
