"""What is compared: the tensors of a checkpoint (in one file or many), or an adapter with its configuration.

A side opens its files once; tensors are read in blocks of rows. A key (see `manifest.key_of`) is taken from what is
known already, or computed when it is first asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from adapters.diffs.manifest import key_of
from adapters.formats.errors import FormatError
from adapters.formats.modules import WeightRole, role_of
from adapters.formats.peft_config import PeftConfig
from adapters.formats.safetensors_header import TensorInfo
from adapters.formats.values import CHUNK_ELEMENTS, Array, TensorFile

WIDE_ROW = 1 << 22


@dataclass
class Side:
    """One side of a comparison, as paths. With `config` it is an adapter; `base` are the files it was made for.

    `keys` are tensor keys known beforehand, by file and tensor name.
    """

    files: Sequence[Path]
    config: PeftConfig | None = None
    base: Side | None = None
    keys: Mapping[tuple[Path, str], str] = field(default_factory=dict)


class OpenSide:
    """The open files of a side. Raises FormatError if one breaks a rule, or two hold a tensor of the same name."""

    def __init__(self, side: Side, files: ExitStack) -> None:
        self.side, self.config = side, side.config
        self._places: dict[str, tuple[Path, TensorFile]] = {}
        self._keys: dict[str, str] = {}
        for path in side.files:
            opened = files.enter_context(TensorFile(path))
            for name in opened.header.tensors:
                if name in self._places:
                    raise FormatError("duplicate_tensor", f"Two files both hold the tensor {name[:200]!r}.")
                self._places[name] = (path, opened)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def info(self, name: str) -> TensorInfo:
        """Type, shape and place of one tensor."""
        return self._places[name][1].header.tensors[name]

    def key(self, name: str) -> str:
        """The tensor's key; reads its bytes if it is not known yet."""
        path, opened = self._places[name]
        found = self._keys.get(name) or self.side.keys.get((path, name))
        if found is None:
            digest = hashlib.sha256()
            for raw in opened.raw_chunks(name):
                digest.update(raw)
            info = opened.header.tensors[name]
            found = key_of(info.dtype, info.shape, digest.hexdigest())
        self._keys[name] = found
        return found

    def read(self, name: str) -> Array:
        """One whole tensor in its shape."""
        return self._places[name][1].read(name)

    def raw(self, name: str) -> Iterator[bytes]:
        """One tensor's bytes in chunks."""
        return self._places[name][1].raw_chunks(name)

    def path(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._places[name][0]

    def metadata(self, path: Path) -> dict[str, str]:
        """The metadata of one file's header; empty if no tensor of it is here."""
        opened = next((opened for place, opened in self._places.values() if place == path), None)
        return dict(opened.header.metadata) if opened else {}

    def rows(self, name: str) -> Iterator[Array]:
        """The values as blocks of rows of `sides(shape)`, decoded, about 256k elements each."""
        columns = max(1, sides(self.info(name).shape)[1])
        for chunk in self._places[name][1].chunks(name, max(1, CHUNK_ELEMENTS // columns) * columns):
            yield chunk.reshape(-1, columns)

    def raw_rows(self, name: str) -> Iterator[bytes]:
        """The bytes of each row of `sides(shape)`, one after the other."""
        info = self.info(name)
        rows, columns = sides(info.shape)
        if not rows * columns:
            return
        width = info.nbytes // rows
        step = max(1, CHUNK_ELEMENTS // columns) * columns
        for raw in self._places[name][1].raw_chunks(name, step):
            for start in range(0, len(raw), width):
                yield raw[start : start + width]

    def roles(self) -> dict[str, WeightRole]:
        """What each tensor of an adapter is, by name; empty for a checkpoint."""
        return {name: role_of(name, self.config) for name in self._places} if self.config else {}


def sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """A shape as a matrix: outputs × everything else; vectors, and rows too wide to hold, as one column."""
    if len(shape) < 2 or prod(shape[1:]) > WIDE_ROW:
        return prod(shape), 1
    return shape[0], prod(shape[1:])
