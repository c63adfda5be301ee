"""Bodies of commits, cut at any place: the same lines and the same bytes as json.loads sees, in bounded memory."""

from __future__ import annotations

import base64
import json
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.wire.ndjson import LONG, BadBody, Reader, Spilled, TooLarge


def source(data: bytes, step: int) -> Any:
    pieces = iter([data[start : start + step] for start in range(0, len(data), step)])
    return lambda _size: next(pieces, b"")


def read(data: bytes, folder: Path, step: int = 70_000, body: int = 1 << 40, file: int = 1 << 30) -> list[Any]:
    rows = list(Reader(source(data, step), folder, body_limit=body, file_limit=file))
    for row in rows:
        content = row.get("value", {}).get("content") if isinstance(row.get("value"), dict) else None
        if isinstance(content, Spilled):
            row["value"]["content"] = base64.b64encode(Path(content).read_bytes()).decode()
    return rows


texts = st.text(max_size=40)
lines = st.one_of(
    st.fixed_dictionaries({"key": st.just("header"), "value": st.fixed_dictionaries({"summary": texts})}),
    st.fixed_dictionaries(
        {
            "key": st.just("file"),
            "value": st.fixed_dictionaries(
                {
                    "path": texts,
                    "content": st.integers(0, 3 * LONG).map(lambda n: base64.b64encode(b"\xfa" * n).decode()),
                }
            ),
        }
    ),
)


@settings(max_examples=60)
@given(st.lists(lines, max_size=5), st.integers(1, 200_000), st.booleans())
def test_any_cut_gives_the_same(rows: list[Any], step: int, ends: bool) -> None:
    data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8", "replace")
    rows = [json.loads(line) for line in data.splitlines()] if rows else []
    step = max(step, len(data) // 2000 + 1)
    with TemporaryDirectory() as folder:
        assert read(data + (b"\n" if ends else b""), Path(folder), step) == rows


@settings(max_examples=150)
@given(st.binary(max_size=2000), st.integers(1, 500))
def test_noise_is_refused_or_read(data: bytes, step: int) -> None:
    with TemporaryDirectory() as folder:
        try:
            read(data, Path(folder), step)
        except BadBody:
            return


def test_memory_stays_small(tmp_path: Path) -> None:
    content = base64.b64encode(bytes(24 * 1024**2))
    body = b'{"key": "file", "value": {"path": "x", "content": "' + content + b'", "encoding": "base64"}}\n'
    tracemalloc.start()
    for row in Reader(source(body, 64 * 1024), tmp_path, body_limit=1 << 40, file_limit=1 << 30):
        path = Path(row["value"]["content"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size == 24 * 1024**2
    assert peak < len(body) + 3 * 1024**2  # the pieces of the test's own source


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"key": "file", "value": {"content": "' + b"A" * 100_000, BadBody),
        (b'{"key": "file", "value": {"content": "' + b"A===" * 50_000 + b'"}}', BadBody),
        (b'{"a": "' + b"AAAA" * 20_000 + b'", "b": "' + b"AAAA" * 20_000 + b'"}', BadBody),
        (b'{"a": "' + b"\\u0041" * 400_000 + b'"}', BadBody),
        (b"1" * 2_000_000, BadBody),
        (b'{"key": "file", "value": {"content": "' + b"AAAA" * 400_000 + b'"}}', TooLarge),
        (b"\n" * 2_000_000, BadBody),
        (b'{"key": "file", "value": {"content": "' + b"AAAA" * 50_000 + b'", "path": "' + b"A" * 100_000, BadBody),
        (b'{"key": "header", "value": {"summary": "' + b"A" * 100_000 + b'"}}', BadBody),
        (b"[" + b'"a", ' * 100_000, BadBody),
    ],
)
def test_bodies_that_go_too_far(data: bytes, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        read(data, tmp_path, body=5_000_000, file=1_000_000)
