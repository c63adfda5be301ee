"""The disk that long work stands on: a folder of each job's own, and whether there is room."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from hub.jobs.models import Job, State
from hub.jobs.running import Cancelled, JobFailed, LostLease, Running
from merges.recipes import Recipe

STALE_SECONDS = 7 * 24 * 3600


@contextmanager
def scratch_of(running: Running) -> Iterator[Path]:
    """A folder of this job's own that outlives a killed worker, and is gone when the job ends for good."""
    root = Path(settings.STATE) / "merging"
    _sweep(root)
    folder = root / str(running.job.pk)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except LostLease:
        raise  # another worker has it now
    except (JobFailed, Cancelled):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what jobs left behind that ended long ago elsewhere."""
    for folder in root.glob("*-*-*-*-*"):
        if time.time() - folder.stat().st_mtime > STALE_SECONDS:
            alive = Job.objects.filter(pk=folder.name, state__in=(State.QUEUED, State.RUNNING)).exists()
            if not alive:
                shutil.rmtree(folder, ignore_errors=True)


def require_room(recipe: Recipe, inputs: list[Any], base: Any, scratch: Path) -> None:
    """Raise JobFailed if the result cannot fit on the worker's disk."""
    wanted = sum(item.weights_bytes for item in inputs)
    if recipe.whole and base is not None:
        wanted = 2 * base.weights_bytes
    free = shutil.disk_usage(scratch).free
    if wanted > free:
        message = f"The result needs about {wanted / 1e9:.1f} GB, but the worker has {free / 1e9:.1f} GB free."
        raise JobFailed(f"{message} Ask the operator for room.")
