"""The second half of TIES: elect a sign for every entry, then average only what agrees with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from merges.methods.declaration import Parameter, Parameters
from merges.methods.deltas import Array, Blockwise, Delta, blocks
from merges.methods.scratch import borrowed, mask_in

Part = Callable[[slice, Array], None]
SIGN = np.uint32(1 << 31)

NORMALIZE = Parameter(
    "normalize", "choice", "weight",
    "What the sum of agreeing entries is divided by: the sum of their weights, their count, or nothing.",
    choices=("weight", "count", "none"),
)  # fmt: skip
ZERO_SIGN = Parameter(
    "zero_sign", "choice", "plus",
    "The sign elected where the weighted sum is exactly zero: plus, or the majority sign of the layer.",
    choices=("plus", "majority"),
)  # fmt: skip


@dataclass(frozen=True)
class _Rule:
    """How a block is voted on. `shares` is what each agreeing input adds to the divisor, None for no divisor."""

    weights: tuple[float, ...]
    shares: tuple[float, ...] | None
    tie: float
    scale: float


def elect(
    shape: tuple[int, int], parts: Sequence[Part], weights: Sequence[float], parameters: Parameters, scale: float
) -> Delta:
    """λ · Σ wᵢτᵢ / D over the entries whose wᵢτᵢ has the elected sign γ = sign(Σ wᵢτᵢ) (Yadav et al. 2023, steps 2-4).

    `parts` put a block of each input's τᵢ into the memory they are given, as often as asked. D is Σ|wᵢ| of the
    agreeing entries, their count, or 1. Where nothing agrees the result is zero. Worked out block by block when read.
    """
    tie = _majority(shape, parts, weights) if parameters["zero_sign"] == "majority" else 1.0
    normalize = parameters["normalize"]
    if normalize == "weight" and len(set(weights)) == 1 and weights[0] > 0:
        weights, normalize = [1.0] * len(weights), "count"  # equal weights cancel
    sizes = {"weight": [abs(weight) for weight in weights], "count": [1.0] * len(weights)}.get(normalize)
    rule = _Rule(tuple(weights), tuple(sizes) if sizes else None, tie, scale)

    def fill(block: slice, out: Array) -> None:
        with borrowed(out.shape, len(parts)) as values:
            for part, one, weight in zip(parts, values, rule.weights, strict=True):
                part(block, one)
                if weight != 1:
                    one *= np.float32(weight)
            _agreed(values, rule, out)

    return Blockwise(shape, fill)


def _agreed(values: Sequence[Array], rule: _Rule, out: Array) -> None:
    """One block's vote. `values` are used up.

    No branches: with every sign turned by the elected one, what agrees is what is above zero.
    """
    with borrowed(out.shape, 2) as (spare, elected):
        _sum(values, out)
        signs, mask = elected.view(np.uint32), mask_in(spare)
        if rule.tie < 0:
            np.less_equal(out, np.float32(0.0), out=mask)
            np.multiply(mask, SIGN, out=signs, casting="unsafe", dtype=np.uint32)
        else:
            np.bitwise_and(out.view(np.uint32), SIGN, out=signs)
        counted = rule.shares is not None and set(rule.shares) == {1.0}
        agreeing = np.zeros(out.shape, np.uint16 if len(values) > 255 else np.uint8) if counted else None
        divisor = np.zeros(out.shape, np.float32) if rule.shares and not counted else None
        for number, one in enumerate(values):
            turned = one.view(np.uint32)
            np.bitwise_xor(turned, signs, out=turned)
            np.greater(one, np.float32(0.0), out=mask)
            one *= mask
            if agreeing is not None:
                np.add(agreeing, mask.view(np.uint8), out=agreeing)
            elif divisor is not None and rule.shares is not None:
                divisor += np.multiply(mask, np.float32(rule.shares[number]))
        _sum(values, out)
        if agreeing is not None:
            np.maximum(agreeing, 1, out=agreeing)
            out /= agreeing
        elif divisor is not None:
            out /= np.where(divisor > 0, divisor, np.float32(1.0))
        np.bitwise_xor(out.view(np.uint32), signs, out=out.view(np.uint32))
        if rule.scale != 1:
            out *= np.float32(rule.scale)


def _sum(values: Sequence[Array], out: Array) -> None:
    """Σ values, in their order."""
    if len(values) == 1:
        np.copyto(out, values[0])
        return
    np.add(values[0], values[1], out=out)
    for one in values[2:]:
        out += one


def _majority(shape: tuple[int, int], parts: Sequence[Part], weights: Sequence[float]) -> float:
    """The sign that wins most entries of the layer, plus if they are even."""
    votes = 0
    for block in blocks(shape):
        height = (block.stop - block.start, shape[1])
        with borrowed(height, len(parts)) as values, borrowed(height) as (total,):
            for part, one, weight in zip(parts, values, weights, strict=True):
                part(block, one)
                one *= np.float32(weight)
            _sum(values, total)
            votes += int(np.count_nonzero(total > 0)) - int(np.count_nonzero(total < 0))
    return -1.0 if votes < 0 else 1.0
