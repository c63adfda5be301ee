"""What has been merged so far, on disk, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from merges.methods.deltas import Array


class Pieces:
    """Arrays and facts by number, kept in a folder, or in memory when there is none.

    A piece appears under its name only when it is complete: it is written beside and renamed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: dict[int, tuple[dict[str, Any], dict[str, Array]]] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, number: int) -> bool:
        return number in self._held if self._folder is None else self._path(number).is_file()

    def put(self, number: int, facts: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Keep one piece."""
        if self._folder is None:
            self._held[number] = (facts, arrays)
            return
        path = self._path(number)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)

    def get(self, number: int) -> tuple[dict[str, Any], dict[str, Array]]:
        """One piece. Raises KeyError, FileNotFoundError."""
        if self._folder is None:
            return self._held[number]
        with np.load(self._path(number), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return json.loads(arrays.pop("facts").tobytes()), arrays

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{number:06d}.npz"
