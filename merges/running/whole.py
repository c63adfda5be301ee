"""A whole checkpoint on disk: one safetensors file or many, read a few rows of one tensor at a time."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import Header, TensorInfo, join_headers
from adapters.formats.values import FLOATING, Array, TensorFile
from merges.methods.deltas import placed
from merges.recipes import Problem, RecipeError
from merges.running.adapters import LocalAdapter

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
MAX_INDEX_BYTES = 32 << 20
UNTIED = ("lm_head.weight", "embed_out.weight", "output.weight")
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "shared.weight", "tok_embeddings.weight")


@dataclass(frozen=True)
class Checkpoint:
    """A base or a full fine-tune: every tensor by name, and the file that holds it."""

    name: str
    place: str
    files: Mapping[str, TensorFile]
    holder: Mapping[str, TensorFile]
    config: Mapping[str, Any]
    sha256: str

    @cached_property
    def header(self) -> Header:
        """All tensors together."""
        return join_headers([file.header for file in self.files.values()])

    def info(self, name: str) -> TensorInfo:
        """Type and shape of one tensor."""
        return self.holder[name].header.tensors[name]

    def own_name(self, name: str) -> str | None:
        """This checkpoint's tensor for a name of the base; its embedding for a head that is tied to it; else None."""
        if name in self.holder:
            return name
        if name.endswith(UNTIED) and self.config.get("tie_word_embeddings", True):
            return next((other for other in self.holder if other.endswith(EMBEDDINGS)), None)
        return None


class Rows:
    """One tensor as a matrix (first axis × everything else), float32; with `keeping`, the last block read is kept.

    All inputs subtract the same rows of the base one after the other, so that one block is worth keeping.
    """

    def __init__(self, checkpoint: Checkpoint, name: str, keeping: bool = False) -> None:
        self._file, self._name, self._keeping = checkpoint.holder[name], name, keeping
        self._last: tuple[int, int] = (0, 0)
        self._values: Array = np.zeros((0, 0), np.float32)
        self._memory: Array = self._values
        shape = checkpoint.info(name).shape
        self.shape = (1, shape[0] if shape else 1) if len(shape) < 2 else (shape[0], int(np.prod(shape[1:])))

    def rows(self, selection: slice | Array, out: Array | None = None) -> Array:
        """The chosen rows, `out` where given. Do not write into others."""
        if not isinstance(selection, slice):
            result = np.empty((len(selection), self.shape[1]), np.float32) if out is None else out
            for place, start, stop in runs(selection):
                self._file.fill_rows(self._name, start, result[place : place + stop - start])
            return result
        start, stop, _ = selection.indices(self.shape[0])
        if not self._keeping:
            result = np.empty((stop - start, self.shape[1]), np.float32) if out is None else out
            self._file.fill_rows(self._name, start, result)
            return result
        if (start, stop) != self._last:
            if len(self._memory) < stop - start:
                self._memory = np.empty((stop - start, self.shape[1]), np.float32)
            self._values, self._last = self._memory[: stop - start], (0, 0)
            self._file.fill_rows(self._name, start, self._values)
            self._last = (start, stop)
        return self._values if out is None else placed(self._values, out)


def runs(rows: Array) -> list[tuple[int, int, int]]:
    """Rising row numbers as runs of neighbours: (place of the first, first, one past the last)."""
    breaks = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return [
        (place, int(rows[place]), int(rows[end - 1]) + 1) for place, end in itertools.pairwise(breaks) if end > place
    ]


@dataclass(frozen=True)
class Difference:
    """τ = θ − θ₀ of one tensor, worked out again for each block."""

    own: Rows
    base: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        return self.base.shape

    def rows(self, selection: slice | Array, out: Array | None = None) -> Array:
        """The chosen rows in float32."""
        result = self.own.rows(selection, out)
        result -= self.base.rows(selection)
        return result


@dataclass(frozen=True)
class Scaled:
    """What IA3 does to a weight: θ₀ ⊙ (l − 1), l along the outputs (rows) or the inputs (columns)."""

    base: Rows
    offset: Array
    along_rows: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        return self.base.shape

    def rows(self, selection: slice | Array, out: Array | None = None) -> Array:
        """The chosen rows in float32."""
        factor = self.offset[selection][:, None] if self.along_rows else self.offset[None, :]
        result: Array = np.multiply(self.base.rows(selection), factor, out=out)
        return result


def open_checkpoint(name: str, local: LocalAdapter, place: str, open_files: ExitStack) -> Checkpoint:
    """Open every shard of a checkpoint. Raises RecipeError naming `place` for files that are missing or unreadable.

    The sha256 of all its weights, in the order of their names, is worked out unless the caller knows it.
    """
    folder, sha256 = local.folder, local.sha256
    try:
        shards = _shards(local, name, place)
        files = {file: open_files.enter_context(TensorFile(local.remote.get(file, folder / file))) for file in shards}
        config = json.loads((folder / CONFIG).read_bytes()) if (folder / CONFIG).is_file() else {}
    except FileNotFoundError as error:
        _refuse(place, f"{name}: {Path(str(error.filename)).name} is missing. Upload all files of the checkpoint.")
    except RecipeError:
        raise
    except (FormatError, ValueError) as error:
        _refuse(place, f"{name}: {error}")
    if sha256 is None:
        digest = hashlib.sha256()
        for shard in shards:
            with (folder / shard).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        sha256 = digest.hexdigest()
    holder = {tensor: file for file in files.values() for tensor in file.header.tensors}
    return Checkpoint(name, place, files, holder, config if isinstance(config, dict) else {}, sha256)


def is_float(info: TensorInfo) -> bool:
    """Whether a tensor holds numbers that can be merged; indices and masks are the base's."""
    return info.dtype in FLOATING


def can_merge(info: TensorInfo) -> bool:
    """Whether there is something to merge: numbers, and at least one of them."""
    return is_float(info) and info.count > 0


def _shards(local: LocalAdapter, name: str, place: str) -> list[str]:
    folder = local.folder
    if WEIGHTS in local.remote or (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if not (folder / INDEX).is_file():
        _refuse(place, f"{name} has no {WEIGHTS} and no {INDEX}: it is not a checkpoint that can be merged.")
    if (folder / INDEX).stat().st_size > MAX_INDEX_BYTES:
        _refuse(place, f"{name}: {INDEX} is too large to be one.")
    index = json.loads((folder / INDEX).read_bytes())
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(listed, dict) or not all(isinstance(file, str) and "/" not in file for file in listed.values()):
        _refuse(place, f"{name}: {INDEX} has no weight_map from tensors to files.")
    return sorted(set(listed.values()))


def _refuse(place: str, message: str) -> NoReturn:
    raise RecipeError([Problem(place, "error", message)])
