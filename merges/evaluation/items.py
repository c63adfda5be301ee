"""Every item of an evaluation as a Parquet file: written once, read page by page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("row", "text", "text_pair", "expected", "predicted", "right", "score")


def to_parquet(items: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows {row, text, text_pair, expected, predicted, right, score} as Parquet; equal rows give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([
        ("row", pa.int64()), ("text", pa.string()), ("text_pair", pa.string()), ("expected", pa.string()),
        ("predicted", pa.string()), ("right", pa.bool_()), ("score", pa.float64()),
    ])  # fmt: skip
    table = pa.Table.from_pylist([{name: item.get(name) for name in COLUMNS} for item in items], schema=schema)
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def read(data: bytes) -> list[dict[str, Any]]:
    """All rows of such a file, in order."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
    return rows


def select(
    rows: Sequence[dict[str, Any]], *, show: str = "worst", expected: str = "", predicted: str = ""
) -> list[dict[str, Any]]:
    """Rows to look at: "worst" (wrong, the surest first), "wrong", "right" or "all", of one cell of the confusion."""
    chosen = [
        row
        for row in rows
        if (not expected or row["expected"] == expected)
        and (not predicted or row["predicted"] == predicted)
        and (show == "all" or row["right"] == (show == "right"))
    ]
    return sorted(chosen, key=lambda row: -row["score"]) if show == "worst" else chosen
