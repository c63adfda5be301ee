"""Values of F64, F32, F16 and BF16 as float64, and back with one rounding (ties to even). No BLAS, no other library.

These functions are part of the format: what they return for given bits never changes (tests hold golden vectors).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.float64]

WIDTHS: dict[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of the types that predictions compute with."""


def widen(raw: bytes | memoryview | Bits, dtype: str) -> Wide:
    """Little-endian values as float64; every value of the four types is one of float64."""
    if dtype == "BF16":
        stored = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << np.uint32(16)
        return stored.view(np.float32).astype(np.float64)
    return np.frombuffer(raw, dtype={"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float64)


def narrow(values: Wide, dtype: str) -> Bits:
    """float64 to the bytes of `dtype`, rounded once. Every NaN becomes the type's positive quiet one.

    (Processors differ in the sign and the payload of the NaN they make.)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == "F64":
            bits = values.astype("<f8").view("<u8")
        elif dtype == "F32":
            bits = values.astype("<f4").view("<u4")
        elif dtype == "F16":
            bits = values.astype("<f2").view("<u2")
        else:
            bits = _bfloat(values)
    lost = np.isnan(values)
    if lost.any():
        bits[lost] = _QUIET[dtype]
    return bits.view(np.uint8)


_QUIET = {"F64": 0x7FF8_0000_0000_0000, "F32": 0x7FC0_0000, "F16": 0x7E00, "BF16": 0x7FC0}


def _bfloat(values: Wide) -> npt.NDArray[np.unsignedinteger]:
    """Through float32 rounded to odd, which keeps the second rounding from going wrong (Boldo and Melquiond 2008)."""
    single = values.astype(np.float32)
    back = single.astype(np.float64)
    bits = single.view(np.uint32).copy()
    inexact = back != values
    bits[inexact & (np.abs(back) > np.abs(values))] -= np.uint32(1)
    bits[inexact] |= np.uint32(1)
    upper = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return upper.astype("<u2")
