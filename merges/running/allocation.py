"""How many ranks each layer gets out of one budget for the whole adapter."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from merges.methods.deltas import Array


def for_energy(spectra: Sequence[Array], costs: Sequence[int], share: float) -> list[int]:
    """Ranks that keep `share` of Σσ² over all layers with few parameters; at least 1 each.

    `spectra` are singular values in falling order, `costs` the numbers of one rank (m + n). Always the direction with
    the most σ² for each parameter is taken next.
    """
    total = sum(float((values**2).sum()) for values in spectra)
    return _taken(spectra, costs, wanted=share * total * (1 - 1e-12), most=None)


def for_numbers(spectra: Sequence[Array], costs: Sequence[int], most: int) -> list[int]:
    """Ranks with at most `most` numbers in all factors together, at least 1 each. Raises ValueError if too few."""
    if sum(costs) > most:
        raise ValueError(f"The size allows {most:,} numbers, but rank 1 in every layer needs {sum(costs):,} already.")
    return _taken(spectra, costs, wanted=float("inf"), most=most)


def _taken(spectra: Sequence[Array], costs: Sequence[int], wanted: float, most: int | None) -> list[int]:
    ranks = [1] * len(spectra)
    kept = sum(float(values[0] ** 2) for values in spectra if values.size)
    spent = sum(costs)
    waiting = [(-float(values[1] ** 2) / costs[n], n) for n, values in enumerate(spectra) if values.size > 1]
    heapq.heapify(waiting)
    while waiting and kept < wanted:
        _, layer = heapq.heappop(waiting)
        if most is not None and spent + costs[layer] > most:
            continue
        values = spectra[layer]
        kept += float(values[ranks[layer]] ** 2)
        spent += costs[layer]
        ranks[layer] += 1
        if ranks[layer] < values.size:
            heapq.heappush(waiting, (-float(values[ranks[layer]] ** 2) / costs[layer], layer))
    return ranks
