"""Reading ahead: whatever is asked in whatever order, the bytes are those, and going forward opens few streams."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.store import ahead
from hub.store.ahead import Ahead
from hub.store.chunked import Damaged

DATA = random.Random(3).randbytes(5_000)


class Opened:
    """A stored thing in pieces of seven bytes that counts how often it is opened."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data, self.times, self.read = data, 0, 0

    def __call__(self, start: int, end: int) -> Iterator[bytes]:
        self.times += 1
        for at in range(start, end, 7):
            piece = self.data[at : min(at + 7, end)]
            self.read += len(piece)
            if piece:
                yield piece


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 900)), max_size=12), st.sampled_from([0, 9_999]))
def test_any_order(asked: list[tuple[int, int]], small: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "FIRST", 64)
        patch.setattr(ahead, "NEAR", 32)
        opened = Opened()
        source = Ahead(opened, len(DATA), small)
        for start, length in asked:
            end = min(start + length, len(DATA))
            assert source.read(start, end) == DATA[start:end]
        source.close()
        assert opened.times <= 1 or not small


def test_forward_opens_few_streams_and_a_small_range_reads_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "FIRST", 64)
    opened = Opened()
    source = Ahead(opened, len(DATA))
    assert b"".join(source.read(at, at + 50) for at in range(0, 5_000, 50)) == DATA
    assert opened.times <= 6 and opened.read == len(DATA)
    alone = Opened()
    assert Ahead(alone, len(DATA)).read(4_000, 4_010) == DATA[4_000:4_010]
    assert alone.read <= 14


def test_beyond_the_end_and_cut_short() -> None:
    with pytest.raises(Damaged):
        Ahead(Opened(), len(DATA)).read(4_999, 5_001)
    with pytest.raises(Damaged):
        Ahead(Opened(DATA[:100]), len(DATA)).read(0, 200)
