"""Makes a file out of ways alone: what an update makes of its base is defined as the prediction, with no residual."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from adapters.encoding.decode import head_info, read_head
from adapters.encoding.numbers import WIDTHS, widen
from adapters.encoding.recipe import BLOCK, Recipe, blocks_of, check_of
from adapters.encoding.sources import Sources
from adapters.encoding.ways import Cache, Same, Way
from adapters.formats.errors import FormatError


def materialise(
    ways: Mapping[str, Way], base: int, head: int, sizes: Sequence[int], sources: Sources,
    report: Callable[[int], None] = lambda done: None,
) -> tuple[Recipe, str]:  # fmt: skip
    """Recipe and sha256 of input `base` (whose header is its first `head` bytes) with these tensors made anew.

    The header stays, byte for byte, so names, types and shapes do. Raises FormatError where a way cannot be true of its
    tensor, or makes values that are not finite of such that are.
    """
    size, digest, checks, done = sizes[base], hashlib.sha256(), [], 0
    first = sources.input(base, 0, head)
    digest.update(first)
    checks.append(check_of(first))
    header = read_head(first, size)
    chosen: list[Way] = []
    for info in header.tensors.values():
        if not info.nbytes:
            continue
        way = ways.get(info.name, Same(base, header.data_start + info.begin))
        way.check(info, tuple(sizes))
        chosen.append(way)
        cache: Cache = {}
        for at in range(0, info.nbytes, BLOCK):
            block = way.predict(info, at, min(at + BLOCK, info.nbytes), sources, cache).tobytes()
            if info.name in ways and info.dtype in WIDTHS and not np.isfinite(widen(block, info.dtype)).all():
                raise FormatError("not_finite", f"The update would make values of {info.name} infinite or no numbers.")
            digest.update(block)
            checks.append(check_of(block))
            done += len(block)
            report(done)
    Same(base, 0).check(head_info(head), tuple(sizes))
    recipe = Recipe(size, len(sizes), head, Same(base, 0), tuple(chosen), (0,) * len(checks), b"".join(checks))
    assert len(checks) == 1 + sum(blocks_of(info.nbytes) for info in header.tensors.values())
    return recipe, digest.hexdigest()
