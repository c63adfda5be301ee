"""One plain sentence about a comparison, and warnings that deserve one of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import sqrt

from adapters.diffs.changes import TensorChange

_MOVED = ("changed", "cast", "reshaped")
_ALSO = {
    "cast": "only stored in another type", "reshaped": "of another shape", "renamed": "renamed",
    "equivalent": "with other factors but the same effect",
}  # fmt: skip
_LAYER = re.compile(r"\.(\d+)\.")
_KINDS = {
    "scale": "scaled values", "sparse": "sparse edits", "low_rank": "low-rank updates", "mean": "a mean of its parents",
    "dense": "dense training", "rows": "rows added or removed", "cast": "another number type",
}  # fmt: skip


def summary(changes: Sequence[TensorChange]) -> str:
    """What a person should read first, such as:

    `Changed 12 of 104 tensors (7.8 % of parameters), 0 added, 0 removed; relative change 0.5 %; looks like low-rank
    updates to query and value in layers 0 to 5.` The relative change is |new - old| / |old| over the changed ones taken
    together. Adapters are counted in updates (one for each module) where they have them.
    """
    counts: Counter[str] = Counter(change.status for change in changes)
    kept = [change for change in changes if change.status not in ("added", "removed")]
    moved = [change for change in kept if change.status in _MOVED]
    things = _things(changes)
    if not moved and not counts["added"] and not counts["removed"]:
        return _nothing(counts, len(kept), things)
    if len(changes) in (counts["added"], counts["removed"]):
        return f"All {len(changes)} {things} " + ("are new." if counts["added"] else "were removed.")
    share = sum(change.count for change in moved) / max(1, sum(change.count for change in kept))
    parts = [
        f"Changed {len(moved)} of {len(kept)} {things} ({percent(share)} of parameters), "
        f"{counts['added']} added, {counts['removed']} removed"
    ]
    relative = total_relative_norm(changes)
    if relative is not None:
        parts.append(f"relative change {percent(relative)}")
    for status, words in _ALSO.items():
        if counts[status]:
            parts.append(f"{counts[status]} {words}")
    broken = sum(change.not_finite for change in changes)
    if broken:
        parts.append(f"{broken:,} values are not finite")
    if guess := _looks_like(moved):
        parts.append(guess)
    if direction := _direction(moved):
        parts.append(direction)
    return "; ".join(parts) + "."


def warnings(changes: Sequence[TensorChange]) -> list[str]:
    """Sentences on what a reader must not overlook."""
    found = []
    broken = [change for change in changes if change.not_finite]
    if broken:
        count = sum(change.not_finite for change in broken)
        found.append(f"{count:,} values in {_named(broken)} are not finite (NaN or infinite).")
    casts = [change for change in changes if change.old_dtype]
    if casts:
        pairs = Counter(f"{change.old_dtype} to {change.dtype}" for change in casts)
        kinds = ", ".join(f"{count} from {pair}" for pair, count in pairs.most_common(3))
        found.append(f"The number type changed: {kinds}.")
    reshaped = [change for change in changes if change.status == "reshaped"]
    if reshaped:
        first = reshaped[0]
        old = " × ".join(map(str, first.old_shape or ()))
        found.append(f"The shape changed in {_named(reshaped)}: {old} became {' × '.join(map(str, first.shape))}.")
    return found


def _nothing(counts: Counter[str], kept: int, things: str) -> str:
    if not kept:
        return "Both files hold no tensor."
    if counts["equivalent"]:
        return (
            f"The stored numbers differ, but {counts['equivalent']} of {kept} {things} have the same effect as before "
            "and the others are the same, byte for byte."
        )
    if counts["renamed"]:
        return f"All {kept} {things} are the same, byte for byte; {counts['renamed']} have another name."
    return f"All {kept} {things} are the same, byte for byte."


def _things(changes: Sequence[TensorChange]) -> str:
    kinds = {change.unit for change in changes}
    return "tensors" if "update" not in kinds else "updates" if kinds == {"update"} else "updates and tensors"


def _named(changes: Sequence[TensorChange]) -> str:
    more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
    return f"{changes[0].name}{more}"


def _looks_like(moved: Sequence[TensorChange]) -> str:
    """The commonest kind of change among the changed weights, with the modules and layers it touched."""
    weights = [change for change in moved if change.update and len(change.shape) > 1]
    if not weights:
        return ""
    kind, count = Counter(change.update for change in weights).most_common(1)[0]
    if kind not in _KINDS or count * 2 <= len(weights):
        return ""
    same = [change for change in weights if change.update == kind]
    modules = Counter(module_word(change.name) for change in same)
    words = f"looks like {_KINDS[kind]}"
    if len(modules) <= 4:
        words += f" to {_and(sorted(modules))}"
    layers = sorted({int(found.group(1)) for change in same if (found := _LAYER.search(f".{change.name}."))})
    return words + (f" in {_spans(layers)}" if layers else "")


def _direction(moved: Sequence[TensorChange]) -> str:
    """How two adapters' updates lie to each other, all modules together: ⟨a,b⟩ = (|a|² + |b|² − |b − a|²) / 2."""
    norms = [(change.old_norm, change.new_norm, change.change_norm) for change in moved if change.unit == "update"]
    known = [(old, new, gap) for old, new, gap in norms if old is not None and new is not None and gap is not None]
    lengths = [sqrt(sum(row[side] ** 2 for row in known)) for side in (0, 1)]
    if not all(lengths):
        return ""
    cosine = sum(old**2 + new**2 - gap**2 for old, new, gap in known) / 2 / lengths[0] / lengths[1]
    words = (
        "nearly the same direction" if cosine > 0.9 else "a similar direction" if cosine > 0.5
        else "partly the same direction" if cosine > 0.1 else "unrelated directions" if cosine > -0.1
        else "opposed directions"
    )  # fmt: skip
    return f"the updates point in {words} (cosine {cosine:.2f})"


def module_word(name: str) -> str:
    """The last word that tells modules apart: `…attention.self.query.weight` → `query`."""
    parts = [part for part in name.split(".") if part not in ("weight", "bias", "base_layer")]
    return parts[-1] if parts else name


def _spans(layers: list[int]) -> str:
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if layers == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return f"{len(layers)} layers" if len(layers) > 6 else f"layers {_and([str(layer) for layer in layers])}"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


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
