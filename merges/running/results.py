"""The files of a merged checkpoint: weights written in place, the base's other files beside them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.formats.safetensors_header import BITS
from merges.recipes import Recipe
from merges.running.whole import CONFIG, INDEX, Checkpoint, is_float
from merges.running.writing import STORED, header_bytes

MAX_SHARD_BYTES = 5_000_000_000
DELTA = "delta.safetensors"
COPIED = (".json", ".txt", ".model", ".jinja")


@dataclass(frozen=True)
class _Place:
    file: str
    offset: int
    itemsize: int


class WholeResult:
    """The result while it is being made, in `folder`; `publish` moves it to where it is wanted."""

    def __init__(self, recipe: Recipe, ground: Checkpoint, names: Sequence[str], folder: Path) -> None:
        self._recipe, self._ground, self._names, self.folder = recipe, ground, names, folder
        self._places: dict[str, _Place] = {}
        self._headers: dict[str, bytes] = {}
        self._sizes: dict[str, int] = {}
        self._open: dict[str, int] = {}
        self.written: list[str] = []
        shards = [names] if recipe.output.form == "delta" else list(self._shards())
        for number, shard in enumerate(shards, start=1):
            alone = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            self._lay_out(DELTA if recipe.output.form == "delta" else alone, shard)

    @property
    def count(self) -> int:
        """Number of parameters."""
        return sum(self._ground.info(name).count for name in self._names if is_float(self._ground.info(name)))

    def nbytes(self, name: str) -> int:
        """Bytes of one tensor of the result."""
        return self._ground.info(name).count * BITS[self._dtype(name)] // 8

    def begin(self, fresh: bool) -> None:
        """Make the files at their full size, or find those of the run before."""
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for file, header in self._headers.items():
            path = self.folder / file
            with path.open("r+b" if path.exists() else "wb") as opened:
                opened.write(header)
                opened.truncate(self._sizes[file])
            self._open[file] = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the files; nothing can be written after."""
        while self._open:
            os.close(self._open.popitem()[1])

    def write(self, name: str, first: int, data: bytes | memoryview) -> None:
        """Write elements of one tensor from the `first` on."""
        place = self._places[name]
        offset, view = place.offset + first * place.itemsize, memoryview(data).cast("B")
        while view:
            done = os.pwrite(self._open[place.file], view, offset)
            view, offset = view[done:], offset + done

    def copy(self, name: str) -> None:
        """Write a tensor as the base has it."""
        first = 0
        for raw in self._ground.holder[name].raw_chunks(name):
            self.write(name, first, raw)
            first += len(raw) // self._places[name].itemsize

    def put_beside(self, base: Path, more: Mapping[str, bytes]) -> None:
        """Recipe and heads as given, and for a checkpoint the base's configuration and tokenizer."""
        files = dict(more)
        if self._recipe.output.form == "checkpoint":
            for path in sorted(base.iterdir()):
                if path.suffix in COPIED and path.name not in (INDEX, CONFIG) and path.is_file():
                    files[path.name] = path.read_bytes()
            if self._ground.config:
                files[CONFIG] = self._config()
            if len(self._headers) > 1:
                files[INDEX] = self._index()
        for name, data in files.items():
            self.put(name, data)

    def put(self, name: str, data: bytes) -> None:
        """Write one small file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.written.append(name)

    def hashes(self) -> dict[str, str]:
        """sha256 of every file so far."""
        result = {}
        self.written = [*self._headers, *self.written]
        for name in self.written:
            with (self.folder / name).open("rb") as file:
                result[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return result

    def publish(self, output: Path) -> None:
        """Move everything to `output`. Raises FileExistsError if that is taken."""
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise FileExistsError(f"The folder {output.name} is not empty. Give a new one for the result.")
        self.close()
        (self.folder / "journal.jsonl").unlink(missing_ok=True)
        if output.exists():
            output.rmdir()
        shutil.move(self.folder, output)

    def discard(self) -> None:
        """Remove what was written."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _dtype(self, name: str) -> str:
        info = self._ground.info(name)
        return STORED[self._recipe.output.dtype] if is_float(info) else info.dtype

    def _shards(self) -> Any:
        shard: list[str] = []
        size = 0
        for name in self._names:
            if shard and size + self.nbytes(name) > MAX_SHARD_BYTES:
                yield shard
                shard, size = [], 0
            shard.append(name)
            size += self.nbytes(name)
        yield shard

    def _lay_out(self, file: str, names: Sequence[str]) -> None:
        header = header_bytes([(name, self._dtype(name), self._ground.info(name).shape) for name in names])
        position = len(header)
        for name in names:
            self._places[name] = _Place(file, position, BITS[self._dtype(name)] // 8)
            position += self.nbytes(name)
        self._headers[file], self._sizes[file] = header, position

    def _config(self) -> bytes:
        config = dict(self._ground.config)
        for key in ("dtype", "torch_dtype"):
            if key in config:
                config[key] = self._recipe.output.dtype
        return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()

    def _index(self) -> bytes:
        weight_map = {name: self._places[name].file for name in self._names}
        total = sum(self.nbytes(name) for name in self._names)
        return (json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n").encode()
