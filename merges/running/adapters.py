"""An adapter as what it does to the base: one delta for each weight it changes, whatever kind of adapter it is."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from adapters.formats.errors import FormatError
from adapters.formats.inspect import inspect_adapter
from adapters.formats.modules import WeightRole, role_of
from adapters.formats.peft_config import PeftConfig, parse_config
from adapters.formats.safetensors_header import TensorInfo
from adapters.formats.values import Array, TensorFile
from merges.methods.declaration import Statistic, Statistics
from merges.methods.deltas import Delta, Dense, LowRank, fits_float32
from merges.recipes import Problem, RecipeError
from merges.running.ahead import Remote
from merges.running.sidecars import Sidecars, open_sidecars

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
LABELS = "labels.json"

Kind = Literal["bias", "embedding", "ia3", "linear"]
_KINDS: Mapping[str, Kind] = {
    "lora_A": "linear", "lora_embedding_A": "embedding", "lora_bias": "bias", "ia3_l": "ia3",
}  # fmt: skip
# A base need not be known here, and an adapter that changes nothing can still be merged.
_NOT_NEEDED = ("fits_base", "not_all_zero")


class Site(NamedTuple):
    """A place in the base that adapters change: a module path and how it is changed."""

    module: str
    kind: Kind

    @property
    def name(self) -> str:
        """The name of the weight or vector that changes."""
        return f"{self.module}.bias" if self.kind == "bias" else self.module


@dataclass(frozen=True)
class LocalAdapter:
    """The files of an adapter, or of a whole checkpoint, in a folder; `name` is owner/name.

    `sha256` is that of a checkpoint's weights where the caller knows it, which saves reading them once more. Where the
    name is not for everybody, the result's files say `alias` instead, and not which weights they are. `remote` are
    weights by file name that are not in the folder.
    """

    name: str
    folder: Path
    sha256: str | None = None
    alias: str = ""
    remote: Mapping[str, Remote] = field(default_factory=dict)

    @property
    def weights_bytes(self) -> int:
        """Bytes of all its weights."""
        near = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
        return near + sum(file.size for file in self.remote.values())


@dataclass(frozen=True)
class Adapter:
    """An adapter whose files were checked; values are read layer by layer from its open file when asked for."""

    name: str
    file: TensorFile
    config: PeftConfig
    sha256: str
    facts: dict[str, Any]
    roles: dict[tuple[str, str], str]
    heads: tuple[WeightRole, ...]
    labels: tuple[str, ...] | None
    sidecars: Sidecars
    alias: str = ""

    @property
    def said(self) -> dict[str, Any]:
        """Its name and hash as the result's files may say them."""
        return {"name": self.alias or self.name, "sha256": None if self.alias else self.sha256}

    @property
    def told(self) -> dict[str, Any]:
        """What a merge's report says of it."""
        labels, said = list(self.labels) if self.labels is not None else None, self.said
        return {
            "adapter": said["name"], "sha256": said["sha256"], "method": self.config.method_label, "labels": labels
        }  # fmt: skip

    @cached_property
    def sites(self) -> frozenset[Site]:
        """Every place this adapter changes, heads apart."""
        return frozenset(Site(module, _KINDS[part]) for module, part in self.roles if part in _KINDS)

    def rank(self, site: Site) -> int:
        """The rank measured in the weights; 0 where there is none."""
        part = {"linear": "lora_A", "embedding": "lora_embedding_A"}.get(site.kind, "")
        return self._info(site, part).shape[0] if (site.module, part) in self.roles else 0

    def shape(self, site: Site) -> tuple[int, int]:
        """(rows, columns) of the delta: outputs × inputs of the factors, one row for a vector."""
        if site.kind == "ia3":
            return 1, self._info(site, "ia3_l").count
        if site.kind == "bias":
            return 1, self._info(site, "lora_bias").count
        left, right = _factors(site)
        return self._info(site, left).shape[0], math.prod(self._info(site, right).shape[1:])

    def kernel(self, site: Site) -> tuple[int, ...]:
        """For a convolution the shape behind the rank of its A (inputs, height, width); empty for a linear layer."""
        shape = self._info(site, "lora_A").shape if site.kind == "linear" else ()
        return shape[1:] if len(shape) > 2 else ()

    def statistics(self, site: Site, shape: tuple[int, int], needs: Collection[Statistic]) -> Statistics:
        """What a method needs of its sidecars about one place, whose ΔW has this shape. Raises RecipeError."""
        try:
            return self.sidecars.at(site.name, shape, needs)
        except FormatError as error:
            raise self._refused(error) from None

    @property
    def prototype(self) -> Array | None:
        """Mean feature of its task under the bare base, where a sidecar has it. Raises RecipeError."""
        try:
            return self.sidecars.prototype
        except FormatError as error:
            raise self._refused(error) from None

    def _refused(self, error: FormatError) -> RecipeError:
        return RecipeError([Problem("inputs", "error", f"{self.name}: {error.message}")])

    def vector_shape(self, site: Site) -> tuple[int, ...]:
        """The shape in which peft stores the vector of an IA3 or bias site."""
        return self._info(site, "ia3_l" if site.kind == "ia3" else "lora_bias").shape

    def scales_outputs(self, site: Site) -> bool:
        """IA3: whether the vector scales the layer's outputs (and its bias) rather than its inputs.

        peft stores those of a linear layer as (outputs, 1) or (1, inputs); a convolution's alike, so its name decides.
        """
        shape = self.vector_shape(site)
        return not self.config.is_feedforward(site.module) if len(shape) > 2 else shape[:1] != (1,)

    def delta(self, site: Site) -> Delta:
        """The update at one place, float32.

        LoRA: scaling·B·A, kept as (scaling·B, A), scaling α/r or α/√r (Hu et al. 2021, Kalajdzievski 2023).
        IA3: l − 1, since a vector of ones changes nothing (Liu et al. 2022).
        Raises RecipeError for values that float32 cannot hold.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            made = self._made(site)
        if not fits_float32(made):
            message = f"{site.name} changes by values that are NaN or infinite in float32, so it cannot be merged."
            raise RecipeError([Problem("inputs", "error", f"{self.alias or self.name}: {message}")])
        return made

    def _made(self, site: Site) -> Delta:
        if site.kind == "ia3":
            return Dense(self._read(site, "ia3_l").reshape(1, -1) - np.float32(1.0))
        if site.kind == "bias":
            return Dense(self._read(site, "lora_bias").reshape(1, -1) * self._scaling(site))
        left, right = (self._read(site, part) for part in _factors(site))
        left, right = left.reshape(len(left), -1), right.reshape(len(right), -1)
        return LowRank(left * self._scaling(site), right)

    def _scaling(self, site: Site) -> np.float32:
        part = "lora_A" if (site.module, "lora_A") in self.roles else "lora_embedding_A"
        scaling = self.config.scaling_of(site.module, self._info(site, part).shape[0])
        assert scaling is not None
        return np.float32(scaling)

    def _info(self, site: Site, part: str) -> TensorInfo:
        return self.file.header.tensors[self.roles[site.module, part]]

    def _read(self, site: Site, part: str) -> Array:
        return self.file.read(self.roles[site.module, part]).astype(np.float32, copy=False)


def read_adapter(local: LocalAdapter, place: str, open_files: ExitStack) -> Adapter:
    """Check an adapter's files and learn what they change.

    Its weights stay open until `open_files` closes. Raises RecipeError naming `place` (the recipe's field) if a file
    is missing or breaks a rule of its format.
    """
    try:
        raw, weights = (local.folder / CONFIG).read_bytes(), local.folder / WEIGHTS
        inspection = inspect_adapter(raw, weights, None)
        config, opened = parse_config(raw), open_files.enter_context(TensorFile(weights))
    except FileNotFoundError as error:
        raise refused(
            local, place, f"{Path(error.filename).name} is missing. Upload all files of the adapter."
        ) from None
    except FormatError as error:
        raise refused(local, place, error.message) from None
    # What a sentence about merging explains better is left to the linter, which sees these facts.
    unsuited = config.dora or config.peft_type not in ("LORA", "IA3")
    broken = [item for item in inspection.findings if item.verdict == "fail" and item.name not in _NOT_NEEDED]
    broken = [item for item in broken if item.name != "finite" and not unsuited]
    if broken or config.unsupported():
        raise refused(local, place, " ".join([*(item.summary for item in broken), *config.unsupported()]))
    roles = [role_of(name, config) for name in opened.header.tensors]
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    labels, sidecars = _labels(local, place), _sidecars(local, place, sha256, open_files)
    more = {"labels": list(labels)} if labels is not None else {}
    return Adapter(
        name=local.name,
        file=opened,
        config=config,
        sha256=sha256,
        facts=inspection.facts | {"sha256": sha256, "statistics": sorted(sidecars.kinds)} | more,
        roles={(role.module, role.part): role.name for role in roles if role.part != "head"},
        heads=tuple(role for role in roles if role.part == "head"),
        labels=labels,
        sidecars=sidecars,
        alias=local.alias,
    )


def _labels(local: LocalAdapter, place: str) -> tuple[str, ...] | None:
    path = local.folder / LABELS
    if not path.is_file():
        return None
    try:
        labels = json.loads(path.read_bytes())
    except ValueError:
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise refused(local, place, "labels.json is not a list of label names. Write them in the order of the outputs.")
    return tuple(labels)


def _sidecars(local: LocalAdapter, place: str, sha256: str, open_files: ExitStack) -> Sidecars:
    try:
        return open_sidecars(local.folder, sha256, open_files)
    except FormatError as error:
        raise refused(local, place, f"Its statistics cannot be read: {error.message}") from None


def _factors(site: Site) -> tuple[str, str]:
    return ("lora_B", "lora_A") if site.kind == "linear" else ("lora_embedding_B", "lora_embedding_A")


def refused(local: LocalAdapter, place: str, message: str) -> RecipeError:
    """The error that names this input and says what is wrong with it."""
    return RecipeError([Problem(place, "error", f"{local.name}: {message}")])
