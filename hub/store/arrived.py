"""Xorbs that this machine has just taken in, on its own disk for a while.

The shard that names them comes within minutes, and its files are hashed from here without asking the store again. What
is read is checked chunk by chunk like everything else; a missing file, or a disk that takes none, only costs time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp

from django.conf import settings

SECONDS = 600


@contextmanager
def spool() -> Iterator[Path]:
    """Where to write a body on its way in; gone at the end."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        handle, name = mkstemp(dir=_folder(), prefix="arriving-")
    except OSError:
        handle, name = mkstemp(prefix="tessera-xorb-")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def keep(path: Path, name: str) -> None:
    """Let a spooled body stay under a name. Never fails."""
    with suppress(OSError):
        os.link(path, _folder() / name)
    tidy()


def read(name: str, start: int, end: int) -> bytes | None:
    """Bytes `start` to `end` (exclusive) of a kept body, None if it is not (or no longer) here."""
    try:
        with (_folder() / name).open("rb") as body:
            body.seek(start)
            data = body.read(end - start)
    except OSError:
        return None
    return data if len(data) == end - start else None


def tidy() -> None:
    """Remove what is old, and the oldest beyond the limit. Never fails."""
    with suppress(OSError):
        rows = sorted(((path.stat().st_mtime, path.stat().st_size, path) for path in _folder().iterdir()), reverse=True)
        total = 0
        for changed, size, path in rows:
            total += size
            if total > settings.LIMITS["arrived_bytes"] or changed < time.time() - SECONDS:
                path.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(settings.STATE) / "arrived"
