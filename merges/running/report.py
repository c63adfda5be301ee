"""What a merge says about itself: per layer, in total, and as the manifest written beside the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from merges.recipes import Problem, Recipe, fingerprint, to_dict
from merges.running.geometry import Conflict

Progress = Callable[[int, int, str], None]


class Cancelled(Exception):
    """The merge was stopped by its caller; nothing was written."""


def tell(progress: Progress, done: int, total: int, text: str) -> None:
    """Say how far a merge is; whatever the caller raises stops it as Cancelled."""
    try:
        progress(done, total, text)
    except Cancelled:
        raise
    except Exception as error:
        raise Cancelled("The merge was stopped; nothing was written.") from error


@dataclass(frozen=True)
class LayerReport:
    """One layer: ranks in and out (0 for vectors), Frobenius norm, relative error as written, sign conflict."""

    name: str
    kind: str
    shape: tuple[int, int]
    ranks_in: tuple[int, ...]
    rank_out: int
    norm: float
    error: float
    sign_conflict: float


@dataclass(frozen=True)
class Totals:
    """The whole merge. `error` is √Σ‖lost‖² / √Σ‖merged‖² over all layers; `parameters` are those written."""

    layers: int
    parameters: int
    largest_rank: int
    norm: float
    error: float
    sign_conflict: float


@dataclass(frozen=True)
class MergeReport:
    """What `run` returns; `manifest` is what merge_report.json holds, `seconds` is not in any file."""

    manifest: dict[str, Any]
    layers: tuple[LayerReport, ...]
    totals: Totals
    cosines: list[list[float | None]]
    heads: tuple[str, ...]
    warnings: tuple[Problem, ...]
    files: tuple[str, ...]
    seconds: float


def totals(layers: Sequence[LayerReport], conflicts: Sequence[Conflict], parameters: int) -> Totals:
    """Sum the layers up."""
    norm = math.sqrt(sum(layer.norm**2 for layer in layers))
    lost = math.sqrt(sum((layer.error * layer.norm) ** 2 for layer in layers))
    everything = Conflict(sum(item.mass for item in conflicts), sum(item.left for item in conflicts))
    return Totals(
        layers=len(layers),
        parameters=parameters,
        largest_rank=max((layer.rank_out for layer in layers), default=0),
        norm=norm,
        error=lost / norm if norm else 0.0,
        sign_conflict=everything.share,
    )


def manifest(
    recipe: Recipe,
    inputs: Sequence[Mapping[str, Any]],
    layers: Sequence[LayerReport],
    summed: Totals,
    cosine_matrix: list[list[float | None]],
    outputs: dict[str, str],
) -> dict[str, Any]:
    """Everything needed to repeat or judge the merge; no time and no path, so equal merges give equal files.

    `inputs` says what each input was, in the recipe's order; `outputs` maps written file names to their sha256.
    """
    inputs = [
        {**told, "revision": entry.revision, "weight": entry.weight}
        for told, entry in zip(inputs, recipe.inputs, strict=True)
    ]
    result = {
        "recipe": to_dict(recipe),
        "fingerprint": fingerprint(recipe),
        "inputs": inputs,
        "totals": asdict(summed),
        "cosines": cosine_matrix,
        "layers": [asdict(layer) for layer in layers],
        "outputs": outputs,
    }
    tidy: dict[str, Any] = _rounded(result)
    return tidy


def as_json(value: Any) -> bytes:
    """Readable JSON with a fixed order, ending in a newline."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _rounded(value: Any) -> Any:
    """Floats to nine significant digits: all a float32 has, without the noise behind."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
