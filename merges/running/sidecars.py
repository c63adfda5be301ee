"""Statistics published beside an adapter, so that others can merge with them without the data they came from.

`statistics/<kind>.safetensors` holds one tensor for each place the adapter changes, named as that weight; its metadata
says of which weights they are (`weights_sha256`), how they were estimated, on what and on how many examples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np

from adapters.formats.errors import FormatError
from adapters.formats.values import FLOATING, Array, TensorFile
from merges.methods.declaration import Statistic, Statistics
from merges.methods.deltas import Delta, placed

FOLDER = "statistics"
KINDS: tuple[Statistic, ...] = get_args(Statistic)
PROTOTYPE = "prototype"
LARGEST = 1e30
"""Statistics below this can be multiplied by weights and changes and still be float32."""


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

    def at(self, name: str, shape: tuple[int, int], needs: Collection[Statistic]) -> Statistics:
        """Those statistics a method needs of one weight whose ΔW has this shape.

        Anybody may have written them. Raises FormatError for a tensor of another shape, of no numbers, or not finite.
        """
        fisher = self._checked("fisher", name, (shape,)) if "fisher" in needs else None
        gram = self._checked("gram", name, ((shape[1], shape[1]), shape[1:])) if "gram" in needs else None
        importance: Delta | None = StoredRows(fisher, name) if fisher else None
        moment = gram.read(name).astype(np.float32) if gram else None
        return Statistics(importance, _norm(fisher) if fisher else 1.0, moment)

    @property
    def prototype(self) -> Array | None:
        """Mean feature of the adapter's task under the bare base (hidden), float32. Raises FormatError as `at`."""
        file = self.files.get("prototype")
        if file is None:
            return None
        info = file.header.tensors.get(PROTOTYPE)
        if info is None or len(info.shape) != 1:
            raise _broken("prototype", "must hold one vector named prototype")
        self._checked("prototype", PROTOTYPE, (info.shape,))
        values: Array = file.read(PROTOTYPE).astype(np.float32)
        if not 0 < float(np.linalg.norm(values.astype(np.float64))) < LARGEST:
            raise _broken("prototype", "holds a vector without a direction")
        return values

    def _checked(self, kind: Statistic, name: str, shapes: Collection[tuple[int, ...]]) -> TensorFile | None:
        """The file of a kind if it has this tensor, which fits and is finite in float32."""
        file = self.files.get(kind)
        info = file.header.tensors.get(name) if file else None
        if file is None or info is None:
            return None
        has = StoredRows(file, name).shape if kind == "fisher" and info.shape else info.shape
        if has not in shapes or info.dtype not in FLOATING:
            wanted = " or ".join(" × ".join(map(str, shape)) for shape in shapes)
            given = f"{' × '.join(map(str, info.shape)) or 'a single number'} {info.dtype}"
            raise _broken(kind, f"holds {given} for {name}, where {wanted} floating point numbers belong")
        if not all((np.abs(values) < LARGEST).all() for values in file.chunks(name)):
            raise _broken(kind, f"holds NaN, infinite or far too large values for {name}")
        return file


def _norm(fisher: TensorFile) -> float:
    """The length a Fisher was divided by. Raises FormatError for no such number."""
    said = fisher.header.metadata.get("norm", "1")
    try:
        norm = float(said)
    except ValueError:
        norm = -1.0
    if not 0 <= norm < LARGEST:
        raise _broken("fisher", f"says {said[:40]!r} where its norm belongs")
    return norm


def _broken(kind: Statistic, what: str) -> FormatError:
    return FormatError("statistics", f"{FOLDER}/{kind}.safetensors {what}. Publish its statistics anew.")


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
