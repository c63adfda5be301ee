"""Statistics published beside an adapter, so that others can merge with them without the data they came from.

`statistics/<kind>.safetensors` holds one tensor for each place the adapter changes, named as that weight; its metadata
says of which weights they are (`weights_sha256`), how they were estimated, on what and on how many examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np

from adapters.formats.values import Array, TensorFile
from merges.methods.declaration import Statistic, Statistics
from merges.methods.deltas import Delta, placed

FOLDER = "statistics"
KINDS: tuple[Statistic, ...] = get_args(Statistic)
PROTOTYPE = "prototype"


@dataclass(frozen=True)
class StoredRows:
    """A stored matrix, read a few rows at a time; a vector counts as one row."""

    file: TensorFile
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        shape = self.file.header.tensors[self.name].shape
        return (1, shape[0]) if len(shape) == 1 else (shape[0], int(np.prod(shape[1:])))

    def rows(self, selection: slice | Array, out: Array | None = None) -> Array:
        """The chosen rows in float32."""
        if isinstance(selection, slice):
            start, stop, _ = selection.indices(self.shape[0])
            return placed(self.file.read_rows(self.name, start, stop), out)
        return placed(np.concatenate([self.rows(slice(row, row + 1)) for row in selection.tolist()]), out)


@dataclass(frozen=True)
class Sidecars:
    """The statistics files of one adapter that belong to its present weights."""

    files: Mapping[Statistic, TensorFile] = field(default_factory=dict)

    @property
    def kinds(self) -> frozenset[Statistic]:
        """Which statistics there are."""
        return frozenset(self.files)

    def at(self, name: str) -> Statistics:
        """The statistics of one weight."""
        fisher, gram = self.files.get("fisher"), self.files.get("gram")
        importance: Delta | None = StoredRows(fisher, name) if fisher and name in fisher.header.tensors else None
        length = float(fisher.header.metadata.get("norm", "1")) if fisher else 1.0
        moment = gram.read(name) if gram and name in gram.header.tensors else None
        return Statistics(importance, length, moment)

    @property
    def prototype(self) -> Array | None:
        """Mean feature of the adapter's task under the bare base (hidden), float32."""
        file = self.files.get("prototype")
        return file.read(PROTOTYPE).astype(np.float32) if file else None


def open_sidecars(folder: Path, weights_sha256: str, open_files: ExitStack) -> Sidecars:
    """The statistics in an adapter's folder; those of other weights than its present ones are left out.

    Raises FormatError for a file that is no safetensors.
    """
    paths = {kind: folder / FOLDER / f"{kind}.safetensors" for kind in KINDS}
    return sidecars_of({kind: path for kind, path in paths.items() if path.is_file()}, weights_sha256, open_files)


def sidecars_of(paths: Mapping[Statistic, Path], weights_sha256: str, open_files: ExitStack) -> Sidecars:
    """The statistics in these files; those of other weights are left out. Raises FormatError as above."""
    found: dict[Statistic, TensorFile] = {}
    for kind, path in paths.items():
        file = open_files.enter_context(TensorFile(path))
        if file.header.metadata.get("weights_sha256") == weights_sha256:
            found[kind] = file
    return Sidecars(found)
