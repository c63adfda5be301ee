"""One line of a comparison: what happened to one tensor, or to one update of an adapter."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

Status = Literal["added", "removed", "renamed", "reshaped", "cast", "equivalent", "changed", "unchanged"]
Update = Literal["", "cast", "rows", "scale", "sparse", "low_rank", "mean", "dense", "factors", "moved"]
Unit = Literal["tensor", "update"]


@dataclass(frozen=True)
class TensorChange:
    """One tensor of either side, or one effective update ΔW = scaling·B·A of an adapter (`unit` says which).

    For what is reshaped, cast or renamed the old shape, type and name are kept beside the new.
    relative_norm: |new - old| / |old| (None when old is all zero, or the numbers do not exist); max_abs: largest
    |new - old|; cosine_distance: 1 - cos(old, new) in 0..2; share_changed: part of the elements that differ;
    rows_changed: rows with a difference; change_norm, old_norm, new_norm: the norms themselves; not_finite: elements
    NaN or infinite on either side. `spectrum` has effective_rank, rank_90, stable_rank, ranks_at_least and
    singular_values of the difference. `update` guesses what kind of change it is, `evidence` says why in words, and
    `exact` is True only where that kind rebuilds every bit. `old_key`, `new_key`: hashes of the two tensors.
    `parts`: the stored tensors behind an update.
    """

    name: str
    status: Status
    shape: tuple[int, ...]
    dtype: str
    unit: Unit = "tensor"
    relative_norm: float | None = None
    max_abs: float | None = None
    cosine_distance: float | None = None
    share_changed: float | None = None
    rows_changed: int | None = None
    old_shape: tuple[int, ...] | None = None
    old_dtype: str | None = None
    old_name: str | None = None
    change_norm: float | None = None
    old_norm: float | None = None
    new_norm: float | None = None
    not_finite: int = 0
    spectrum: dict[str, Any] = field(default_factory=dict)
    update: Update = ""
    evidence: str = ""
    exact: bool = False
    old_key: str = ""
    new_key: str = ""
    parts: tuple[dict[str, Any], ...] = ()

    @property
    def count(self) -> int:
        """Number of elements of the new tensor (of the old one when it was removed)."""
        return prod(self.shape)
