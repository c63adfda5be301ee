"""The effective update ΔW of an adapter, compared without ever being formed.

⟨ΔW₁, ΔW₂⟩ = tr(ΔW₁ᵀΔW₂) = Σ (L₁ᵀL₂) ∘ (R₁R₂ᵀ) for ΔW = L·R, at cost r₁·r₂·(m+n) for each module. It does not depend
on the gauge (A,B) → (MA, BM⁻¹), on rank, or on the seed of the initialisation, so it compares across contributors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters.formats.errors import FormatError
from adapters.formats.modules import role_of
from adapters.formats.peft_config import PeftConfig, parse_config
from adapters.formats.values import TensorFile

Array = npt.NDArray[Any]
Factors = tuple[Array, Array]
WIDTH = 2048
"""Numbers in a sketch. The error of a sketched cosine has a standard deviation of about 1/√WIDTH = 0.022."""
COPY = 0.9
"""From this cosine on an adapter is called a near-copy of another."""


@dataclass(frozen=True)
class Update:
    """ΔW for each place an adapter changes: factors L (m × r) and R (r × n) with the scaling in L.

    A vector (IA3 in its offset form l − 1, Liu et al. 2022; a LoRA bias) is a matrix of one row. Heads are no part.
    """

    places: Mapping[str, Factors]

    @property
    def norm(self) -> float:
        """Frobenius norm over all places."""
        return float(np.sqrt(max(inner(self, self), 0.0)))

    @property
    def is_finite(self) -> bool:
        """Whether every factor is a number: else the update has no direction, and no cosine with any other."""
        return all(np.isfinite(side).all() for pair in self.places.values() for side in pair)


@dataclass(frozen=True)
class Likeness:
    """How alike two updates are: their cosine, and the places both change with the cosine at each, largest first."""

    cosine: float
    places: tuple[tuple[str, float], ...]


def read_update(folder: Path) -> Update:
    """The update of the adapter in a folder: LoRA (α/r, or α/√r for rsLoRA, Kalajdzievski 2023) or IA3 (l − 1).

    Raises FormatError for files that break a rule, and `unsupported_method` for other kinds of adapter.
    """
    config = parse_config((folder / "adapter_config.json").read_bytes())
    if config.peft_type not in ("LORA", "IA3") or config.dora:
        raise FormatError(
            "unsupported_method",
            f"Updates of {config.method_label} are not linear in its weights; they do not compare.",
        )
    with TensorFile(folder / "adapter_model.safetensors") as file:
        roles = {
            (role.module, role.part): role.name for role in (role_of(name, config) for name in file.header.tensors)
        }
        places = {}
        for module, part in roles:
            if part == "ia3_l":
                values = file.read(roles[module, part]).astype(np.float32).reshape(1, -1) - np.float32(1)
                places[f"{module} (ia3)"] = (np.ones((1, 1), np.float32), values)
            elif part in ("lora_A", "lora_embedding_A"):
                places[module] = _factors(file, roles, module, part, config)
    return Update({name: pair for name, pair in sorted(places.items()) if all(side.size for side in pair)})


def _factors(file: TensorFile, roles: Mapping[Any, str], module: str, part: str, config: PeftConfig) -> Factors:
    other = part.replace("_A", "_B")
    if (module, other) not in roles:
        raise FormatError("incomplete", f"{module} has a {part} but no {other}. Save the adapter again.")
    right, left = (file.read(roles[module, name]).astype(np.float32) for name in (part, other))
    scaling = config.scaling_of(module, right.shape[0])
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0] or scaling is None:
        raise FormatError("shapes", f"The factors of {module} do not fit together. Save the adapter again.")
    return left * np.float32(scaling), right


def inner(one: Update, other: Update) -> float:
    """⟨ΔW₁, ΔW₂⟩ over the places both change, float64. Places of different shape count as not shared."""
    return sum(_inner(one.places[name], other.places[name]) for name in _shared(one, other))


def cosine(one: Update, other: Update) -> float:
    """Cosine of two updates, 0 when one of them changes nothing."""
    lengths = one.norm * other.norm
    return inner(one, other) / lengths if lengths else 0.0


def likeness(one: Update, other: Update) -> Likeness:
    """The cosine of two updates with the cosine at every shared place: the evidence beside a number."""
    found = []
    for name in _shared(one, other):
        left, right = one.places[name], other.places[name]
        lengths = np.sqrt(_inner(left, left) * _inner(right, right))
        found.append((name, float(_inner(left, right) / lengths) if lengths else 0.0))
    return Likeness(cosine(one, other), tuple(sorted(found, key=lambda pair: -abs(pair[1]))))


def sketch(update: Update, width: int = WIDTH) -> Array:
    """A fixed-size unit vector whose dot products estimate cosines of updates: TensorSketch (Pham & Pagh 2013).

    Each place's ΔW is count-sketched over its entries by the convolution of the sketches of L's columns and R's rows,
    so nothing of size m × n is formed. Signs and buckets are drawn from the place's name: equal everywhere, for ever.
    The estimate is unbiased before scaling to length one; its standard deviation is about 1/√width.
    Raises ValueError when the update is zero everywhere or not finite.
    """
    if not update.is_finite:
        raise ValueError("The adapter's weights hold NaN or infinite values, so its update has no direction.")
    total = np.zeros(width // 2 + 1, np.complex128)
    for name, (left, right) in update.places.items():
        rows = np.fft.rfft(_counted(left, f"{name}/rows", width), axis=0)
        columns = np.fft.rfft(_counted(right.T, f"{name}/columns", width), axis=0)
        total += (rows * columns).sum(axis=1)
    values = np.fft.irfft(total, width)
    length = float(np.linalg.norm(values))
    if not np.isfinite(length) or length == 0:
        raise ValueError("The adapter's update is zero or not finite, so it has no direction.")
    return np.asarray(values / length, dtype=np.float32)


def published_form(update: Update) -> Array:
    """A and B flattened and concatenated (Zhou et al. 2022, TuPaTE).

    Comparable only between adapters of one initialisation, one rank and one set of modules; kept for comparison.
    """
    parts = [side.ravel() for name in sorted(update.places) for side in reversed(update.places[name])]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _shared(one: Update, other: Update) -> list[str]:
    return [
        name
        for name, (left, right) in one.places.items()
        if name in other.places
        and other.places[name][0].shape[0] == left.shape[0]
        and other.places[name][1].shape[1] == right.shape[1]
    ]


def _inner(one: Factors, other: Factors) -> float:
    lefts = one[0].T.astype(np.float64) @ other[0].astype(np.float64)
    rights = one[1].astype(np.float64) @ other[1].T.astype(np.float64)
    return float(np.sum(lefts * rights))


def _counted(columns: Array, key: str, width: int) -> Array:
    """Count sketch of each column (n, k) → (width, k); buckets and signs are raw bits, stable across versions."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    raw = np.random.PCG64(seed).random_raw(len(columns))
    buckets = (raw >> np.uint64(1)) % np.uint64(width)
    signs = np.where(raw & np.uint64(1), 1.0, -1.0)
    result = np.zeros((width, columns.shape[1]), np.float64)
    np.add.at(result, buckets.astype(np.int64), columns.astype(np.float64) * signs[:, None])
    return result
