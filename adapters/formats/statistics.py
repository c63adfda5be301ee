"""One streaming pass over the values of a safetensors file: what is not finite, what is all zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.formats.values import NUMPY, TensorFile


@dataclass(frozen=True)
class TensorStatistics:
    """Counts over one tensor; `readable` is False for types whose values are not understood here."""

    count: int
    nan: int
    infinite: int
    smallest: float
    greatest: float
    readable: bool = True

    @property
    def largest(self) -> float:
        """The largest absolute value among the finite ones."""
        return max(abs(self.smallest), abs(self.greatest))

    @property
    def all_zero(self) -> bool:
        """True when the tensor has elements and every one is exactly zero."""
        return self.readable and self.count > 0 and self.largest == 0 and not self.nan and not self.infinite


def measure(path: Path) -> dict[str, TensorStatistics]:
    """Statistics of every tensor, in file order, holding at most about 256k elements in memory.

    Raises FormatError if the file breaks a rule of its format.
    """
    result = {}
    with TensorFile(path) as file:
        for name, info in file.header.tensors.items():
            if info.dtype not in NUMPY:
                result[name] = TensorStatistics(info.count, 0, 0, 0.0, 0.0, readable=False)
                continue
            nan = infinite = 0
            smallest, greatest = math.inf, -math.inf
            for values in file.chunks(name):
                if values.dtype.kind == "f":
                    finite = np.isfinite(values)
                    if not finite.all():
                        missing = int(np.isnan(values).sum())
                        nan += missing
                        infinite += int(values.size - finite.sum()) - missing
                        values = values[finite]
                if values.size:
                    smallest = min(smallest, float(values.min()))
                    greatest = max(greatest, float(values.max()))
            if smallest > greatest:
                smallest = greatest = 0.0
            result[name] = TensorStatistics(info.count, nan, infinite, smallest, greatest)
    return result
