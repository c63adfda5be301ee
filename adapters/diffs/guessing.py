"""What kind of change a tensor went through, judged from its numbers: the first kind that fits, with the evidence.

Order: cast, scale (one factor for each column or row, as IA3 does), sparse, low rank, dense. It is a guess and is shown
as one; `exact` is said only where the kind rebuilds every bit (a cast, or a list of changed values).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from adapters.diffs.changes import Update
from adapters.diffs.spectrum import RESOLUTION, Spectrum
from adapters.formats.values import Array

SPARSE_SHARE = 0.05
LOW_RANK_SHARE = 1 / 3
ROUNDING: dict[str, float] = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-9,
                              "F8_E4M3": 2.0**-4, "F8_E5M2": 2.0**-3}  # fmt: skip
"""Largest relative error of one rounding to each type."""


@dataclass(frozen=True)
class Seen:
    """What was measured of one pair; `columns` and `rows` hold ⟨a,a⟩, ⟨a,b⟩, ⟨b,b⟩ along each axis (3 × size)."""

    shape: tuple[int, int]
    dtype: str
    numbers: dict[str, Any]
    spectrum: Spectrum | None
    columns: Array | None
    rows: Array | None


Guess = tuple[Update, str, bool]


def guess(seen: Seen) -> Guess:
    """(kind, evidence, whether that kind rebuilds every bit)."""
    if seen.numbers["status"] == "cast":
        return "cast", "Every value is the old one rounded to the other type.", True
    if not seen.numbers["change_norm"]:
        return "sparse", "Only signs of zero or values that are not finite differ.", True
    return _scaled(seen) or _sparse(seen) or _low_rank(seen) or ("dense", _dense(seen), False)


def _scaled(seen: Seen) -> Guess | None:
    for axis, products in (("column", seen.columns), ("row", seen.rows)):
        if products is None or products.shape[1] < 2:
            continue
        factors = fitted(products, seen)
        if factors is None:
            continue
        low, high = float(factors.min()), float(factors.max())
        if high - low <= 1e-5 * abs(high):
            return "scale", f"Every value was multiplied by {high:.5g}.", False
        return "scale", f"Each {axis} was multiplied by its own factor, {low:.4g} to {high:.4g}.", False
    return None


def fitted(products: Array, seen: Seen) -> Array | None:
    """The factor of each column (or row) if new = old · factor leaves no more than rounding; None if it does not.

    Least squares: factor = ⟨a,b⟩/⟨a,a⟩, rest = Σ ⟨b,b⟩ − ⟨a,b⟩²/⟨a,a⟩.
    """
    own, cross, new = products
    used = own > 0
    if not used.any() or np.any(new[~used] > 0):
        return None
    factors: Array = cross[used] / own[used]
    rest = float(np.maximum(new[used] - cross[used] * factors, 0.0).sum())
    allowed = max(ROUNDING.get(seen.dtype, 0.0), 1e-7) * seen.numbers["new_norm"]
    fits = sqrt(rest) <= allowed and allowed < 0.1 * seen.numbers["change_norm"]
    return factors if fits else None


def _sparse(seen: Seen) -> Guess | None:
    share, rows = seen.numbers["share_changed"], seen.numbers["rows_changed"]
    if share >= SPARSE_SHARE:
        return None
    words = f"{max(share * 100, 0.001):.3g} % of the values differ"
    if seen.shape[1] > 1 and rows < seen.shape[0]:
        words += f", all in {rows:,} of {seen.shape[0]:,} rows"
    return "sparse", f"{words}.", True


def _low_rank(seen: Seen) -> Guess | None:
    """How many singular values stand clear of what rounding the new values to their type leaves behind."""
    found = seen.spectrum
    if found is None or found.values.size < 2:
        return None
    floor = noise(seen)
    rank = int(np.count_nonzero(found.values > floor))
    if not 1 <= rank <= max(1, int(min(seen.shape) * LOW_RANK_SHARE)) or rank >= found.values.size:
        return None
    tail = found.energy - float(np.sum(np.square(found.values[:rank])))
    if found.at_least and tail > 0.5 * found.energy:
        return None
    rest = float(found.values[rank])
    gap = f"{found.values[rank - 1] / rest:,.3g} times" if rest > 0 else "far"
    clear = "" if floor <= RESOLUTION * float(found.values[0]) * 4 else f" (rounding to {seen.dtype} hides the rest)"
    return "low_rank", f"Rank {rank}: singular value {rank} is {gap} above the next one{clear}.", False


def noise(seen: Seen) -> float:
    """What rounding to the new type can add to a singular value.

    The error of one rounding is at most u·|w| and about 0.42·u·|w| in the root mean square; a random m × n matrix of
    such errors has its largest singular value near rms·(√m + √n). Three times that is called noise.
    """
    found = seen.spectrum
    assert found is not None
    rows, columns = seen.shape
    rms = float(seen.numbers["new_norm"]) / sqrt(rows * columns)
    error = 0.42 * ROUNDING.get(seen.dtype, 0.0) * rms * (sqrt(rows) + sqrt(columns))
    return max(3 * error, 3 * RESOLUTION * float(found.values[0]))


def _dense(seen: Seen) -> str:
    words = f"{seen.numbers['share_changed'] * 100:.3g} % of the values differ"
    if seen.spectrum is None:
        return f"{words}."
    more = "at least " if seen.spectrum.at_least else ""
    return f"{words}, spread over {more}{seen.spectrum.effective_rank:,.0f} directions of {min(seen.shape):,}."
