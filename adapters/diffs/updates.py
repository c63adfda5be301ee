"""Adapters as what they do: the update of each module, compared without ever forming a dense matrix.

The difference of two LoRA updates s₂B₂A₂ − s₁B₁A₁ is itself a product of thin factors, [s₂B₂ | −s₁B₁]·[A₂; A₁], so its
norm and singular values come from QR of both factors (R × R core, float64). An adapter that was re-factored or
re-scaled but means the same therefore shows as the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from adapters.diffs import spectrum
from adapters.diffs.guessing import ROUNDING
from adapters.diffs.pairs import Rows, number, ratio
from adapters.diffs.sides import OpenSide
from adapters.formats.peft_config import PeftConfig
from adapters.formats.values import Array

Kind = Literal["linear", "embedding"]
FACTORS: dict[Kind, tuple[str, str]] = {
    "linear": ("lora_B", "lora_A"),
    "embedding": ("lora_embedding_B", "lora_embedding_A"),
}
"""Left and right factor by kind."""
MAX_ENTRIES = 1 << 22
"""Up to this size the largest single entry of the difference is looked for, in blocks of rows."""
BLOCK_ROWS = 256


@dataclass(frozen=True)
class Update:
    """One module's LoRA factors: tensor names, scaling, and the shape (m, n) of ΔW = scaling · left · right.

    `turned`: the adapter says that the base keeps this weight as n × m (embeddings; fan_in_fan_out, as in GPT-2).
    """

    module: str
    kind: Kind
    left: str
    right: str
    scaling: float
    shape: tuple[int, int]
    rank: int
    dtype: str
    turned: bool = False

    def lies_turned(self, shape: tuple[int, ...]) -> bool:
        """Whether a weight of this shape takes ΔWᵀ. A shape that is not square says so itself, whatever is claimed."""
        return self.turned if self.shape[0] == self.shape[1] else self.shape != shape

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether ΔW or ΔWᵀ has a weight's shape."""
        return shape in (self.shape, self.shape[::-1])


def updates_of(side: OpenSide) -> dict[str, Update]:
    """The LoRA updates of an adapter by module; modules with only one of the two factors are left out."""
    config = side.config
    if config is None or config.peft_type != "LORA":
        return {}
    parts: dict[tuple[str, str], str] = {
        (role.module, role.part): name for name, role in side.roles().items() if role.part != "head"
    }
    found = {}
    for module, _part in parts:
        for kind, (left, right) in FACTORS.items():
            if (module, left) in parts and (module, right) in parts:
                made = _update(side, config, module, kind, parts[module, left], parts[module, right])
                if made:
                    found[module] = made
    return found


def _update(side: OpenSide, config: PeftConfig, module: str, kind: Kind, left: str, right: str) -> Update | None:
    one, other = side.info(left), side.info(right)
    if len(one.shape) != 2 or len(other.shape) != 2 or one.shape[1] != other.shape[0]:
        return None
    scaling = config.scaling_of(module, other.shape[0])
    if scaling is None:
        return None
    shape, turned = (one.shape[0], other.shape[1]), kind == "embedding" or config.fan_in_fan_out
    return Update(module, kind, left, right, scaling, shape, other.shape[0], one.dtype, turned)


def factors(side: OpenSide, update: Update) -> tuple[Array, Array]:
    """scaling·left (m × r) and right (r × n) in float64; values that are not finite count as zero."""
    left, right = side.read(update.left).astype(np.float64), side.read(update.right).astype(np.float64)
    for factor in (left, right):
        factor[~np.isfinite(factor)] = 0.0
    return left * update.scaling, right


def spectrum_of(left: Array, right: Array) -> spectrum.Spectrum:
    """The spectrum of left · right, factored while the inner size is below both sides; else the product is smaller."""
    sides = (left.shape[0], right.shape[1])
    if left.shape[1] < min(sides):
        return spectrum.of_factors(left, right)
    product = left @ right
    return spectrum.of_blocks(lambda: iter([product]), sides, float(np.vdot(product, product)))


def _three_spectra(
    left_a: Array, right_a: Array, left_b: Array, right_b: Array
) -> tuple[spectrum.Spectrum, spectrum.Spectrum, spectrum.Spectrum]:
    """Spectra of the difference, the old and the new update; factored ones share one QR of both sides."""
    left, right = np.concatenate([left_b, -left_a], axis=1), np.concatenate([right_b, right_a])
    sides, rank = (left.shape[0], right.shape[1]), left_b.shape[1]
    if left.shape[1] >= min(sides):
        return spectrum_of(left, right), spectrum_of(left_a, right_a), spectrum_of(left_b, right_b)
    one, other = spectrum.cores(left, right)
    return (
        spectrum.of_cores(one, other, sides),
        spectrum.of_cores(one[:, rank:], other[:, rank:], sides),
        spectrum.of_cores(one[:, :rank], other[:, :rank], sides),
    )


def compare_updates(old: OpenSide, one: Update, new: OpenSide, other: Update) -> dict[str, Any]:
    """The numbers of TensorChange for one module that both adapters change. Both updates have the same shape."""
    (left_a, right_a), (left_b, right_b) = factors(old, one), factors(new, other)
    found, before, after = _three_spectra(left_a, right_a, left_b, right_b)
    change_norm, old_norm, new_norm = (value.energy**0.5 for value in (found, before, after))
    tolerance = 8 * max(ROUNDING.get(kind, 0.0) for kind in (one.dtype, other.dtype))
    same = change_norm <= tolerance * max(old_norm, new_norm)
    numbers: dict[str, Any] = {
        "status": "equivalent" if same else "changed",
        "relative_norm": ratio(change_norm, old_norm),
        "cosine_distance": _cosine_distance(change_norm, old_norm, new_norm),
        "max_abs": _largest(left_a, right_a, left_b, right_b),
        "change_norm": number(change_norm),
        "old_norm": number(old_norm),
        "new_norm": number(new_norm),
    }
    if same:
        words = "The stored factors differ, but what they do together is the same"
        return numbers | {"update": "factors", "evidence": f"{words}{_how(one, other)}.", "exact": False}
    numbers["spectrum"] = found.facts() | {
        "before": before.facts()["singular_values"], "after": after.facts()["singular_values"],
    }  # fmt: skip
    return numbers | _kind(numbers, one, other, found, (before, after))


def _how(one: Update, other: Update) -> str:
    if one.rank != other.rank:
        return f" (rank {one.rank} became {other.rank})"
    if one.scaling != other.scaling:
        return f" (the scaling {one.scaling:.4g} became {other.scaling:.4g})"
    return ""


def _kind(
    numbers: dict[str, Any],
    one: Update,
    other: Update,
    found: spectrum.Spectrum,
    both: tuple[spectrum.Spectrum, spectrum.Spectrum],
) -> dict[str, Any]:
    """Scaled as a whole, or another update of some rank."""
    change, old, new = (numbers[name] for name in ("change_norm", "old_norm", "new_norm"))
    if old and new:
        factor = new / old * (-1 if change > old + new - 1e-6 * old else 1)
        if abs(change - abs(factor - 1) * old) <= 1e-5 * change and numbers["cosine_distance"] in (0.0, 2.0):
            return {"update": "scale", "evidence": f"The whole update was multiplied by {factor:.5g}.", "exact": False}
    before, after = (f"{_count(value)}" for value in both)
    ranks = f"rank {one.rank}" if one.rank == other.rank else f"rank {one.rank} became {other.rank}"
    words = f"Stored with {ranks}; its effect uses {before} directions before and {after} after"
    return {"update": "low_rank", "evidence": f"{words}, the difference {_count(found)}.", "exact": False}


def _count(value: spectrum.Spectrum) -> str:
    return f"{'at least ' if value.at_least else ''}{value.effective_rank:.1f}"


def _cosine_distance(change: float, old: float, new: float) -> float:
    if not old or not new:
        return 0.0 if old == new else 1.0
    distance = (change**2 - (old - new) ** 2) / (2 * old * new)
    if distance < 1e-10:
        return 0.0
    return 2.0 if distance > 2 - 1e-10 else float(distance)


def _largest(left_a: Array, right_a: Array, left_b: Array, right_b: Array) -> float | None:
    if left_a.shape[0] * right_a.shape[1] > MAX_ENTRIES:
        return None
    largest = 0.0
    for row in range(0, left_a.shape[0], BLOCK_ROWS):
        part = slice(row, row + BLOCK_ROWS)
        difference = left_b[part] @ right_b - left_a[part] @ right_a
        largest = max(largest, float(np.abs(difference).max(initial=0.0)))
    return number(largest)


def on_base(side: OpenSide, update: Update, weight: Rows, shape: tuple[int, int], weight_norm: float) -> dict[str, Any]:
    """What an update does to the base's weight W: |ΔW|/|W|, the angle it turns W by, and its spectrum.

    `weight` gives W in blocks of rows (m × n). ⟨W, ΔW⟩ is taken through the factors: Σ (W·rightᵀ) ∘ left. Embeddings
    and layers stored the other way round are turned.
    """
    left, right = factors(side, update)
    if update.lies_turned(shape):
        left, right = right.T, left.T
    found = spectrum_of(left, right)
    cross, row = 0.0, 0
    for block in weight():
        wide = block.astype(np.float64)
        wide[~np.isfinite(wide)] = 0.0
        cross += float(np.sum((wide @ right.T) * left[row : row + block.shape[0]]))
        row += block.shape[0]
    change = found.energy**0.5
    new_norm = max(weight_norm**2 + 2 * cross + found.energy, 0.0) ** 0.5
    return {
        "status": "changed" if change else "unchanged",
        "relative_norm": ratio(change, weight_norm),
        "cosine_distance": _cosine_distance(change, weight_norm, new_norm),
        "change_norm": number(change),
        "old_norm": number(weight_norm),
        "new_norm": number(new_norm),
        "spectrum": found.facts(),
        "update": "low_rank",
        "evidence": f"A LoRA update stored with rank {update.rank}; its effect uses {_count(found)} directions.",
    }
