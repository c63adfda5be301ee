"""One plain sentence about a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import sqrt

from adapters.diffs.compare import TensorChange

_MOVED = ("changed", "cast", "reshaped")


def summary(changes: Sequence[TensorChange]) -> str:
    """What a person should read first, such as:

    `Changed 12 of 104 tensors (7.8 % of parameters), 0 added, 0 removed; relative change 0.5 %.`
    The relative change is |new - old| / |old| over the changed tensors taken together.
    """
    counts = Counter(change.status for change in changes)
    kept = [change for change in changes if change.status not in ("added", "removed")]
    moved = [change for change in kept if change.status in _MOVED]
    if not moved and not counts["added"] and not counts["removed"]:
        return f"All {len(kept)} tensors are the same, byte for byte." if kept else "Both files hold no tensor."
    share = sum(change.count for change in moved) / max(1, sum(change.count for change in kept))
    parts = [
        f"Changed {len(moved)} of {len(kept)} tensors ({percent(share)} of parameters), "
        f"{counts['added']} added, {counts['removed']} removed"
    ]
    relative = total_relative_norm(changes)
    if relative is not None:
        parts.append(f"relative change {percent(relative)}")
    if counts["cast"]:
        parts.append(f"{counts['cast']} only stored in another type")
    if counts["reshaped"]:
        parts.append(f"{counts['reshaped']} of another shape")
    broken = sum(change.not_finite for change in changes)
    if broken:
        parts.append(f"{broken:,} values are not finite")
    return "; ".join(parts) + "."


def total_relative_norm(changes: Sequence[TensorChange]) -> float | None:
    """|new - old| / |old| over all changed tensors together; None when there is nothing to divide by."""
    measured = [(change.change_norm, change.old_norm) for change in changes if change.status == "changed"]
    pairs = [(after, before) for after, before in measured if after is not None and before is not None]
    old = sqrt(sum(before**2 for _, before in pairs))
    return sqrt(sum(after**2 for after, _ in pairs)) / old if old > 0 else None


def percent(share: float) -> str:
    """A share for people: `7.8 %`, `0.04 %`, `<0.001 %`; never a rounded zero for something that is not zero."""
    value = share * 100
    if value == 0:
        return "0 %"
    if value < 0.001:
        return "<0.001 %"
    digits = 1 if value >= 1 else 2 if value >= 0.01 else 3
    return f"{value:.{digits}f} %"
