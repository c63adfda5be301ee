"""Reading a stored thing from place to place, mostly forward: what comes next is fetched with what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hub.store.chunked import Damaged

FIRST, GROWTH, MOST = 1 << 20, 4, 64 << 20
NEAR = 1 << 20
"""So many bytes are rather read over than asked for anew."""


class Ahead:
    """Exact ranges out of streams that are opened at a place and go on while the next range follows.

    A window grows with every reading that went on, so that a small range costs little and a whole file few streams.
    What is `small` is fetched once, whole.
    """

    def __init__(self, opened: Callable[[int, int], Iterator[bytes]], size: int, small: int = 0) -> None:
        self._open, self._size = opened, size
        self._stream: Iterator[bytes] | None = None
        self._buffer = bytearray()
        self._at = self._end = 0
        self._window = FIRST
        self._whole: bytes | None = None
        self._small = size <= small

    def read(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive). Raises Damaged for a range beyond the end, and what opening raises."""
        if not 0 <= start <= end <= self._size:
            raise Damaged("A range beyond the end of what is stored was asked for.")
        if self._small:
            if self._whole is None:
                self._whole = b"".join(self._open(0, self._size))
            return self._whole[start:end]
        if not self._at <= start <= self._at + len(self._buffer) + NEAR or self._stream is None:
            self._restart(start, max(end - start, 1))
        self._fill(end)
        del self._buffer[: start - self._at]
        self._at = start
        taken = bytes(self._buffer[: end - start])
        del self._buffer[: end - start]
        self._at = end
        return taken

    def close(self) -> None:
        """Let go of the open stream."""
        if self._stream is not None and hasattr(self._stream, "close"):
            self._stream.close()
        self._stream = None

    def _restart(self, start: int, length: int) -> None:
        self.close()
        self._buffer.clear()
        self._at, self._window = start, FIRST
        self._open_at(start, length)

    def _open_at(self, start: int, length: int) -> None:
        self.close()
        self._end = min(self._size, start + length)
        self._stream = iter(self._open(start, self._end))

    def _fill(self, end: int) -> None:
        while (have := self._at + len(self._buffer)) < end:
            piece = next(self._stream, b"") if self._stream is not None else b""
            if piece:
                self._buffer += piece
            elif have == self._end:
                self._window = min(self._window * GROWTH, MOST)
                self._open_at(have, max(self._window, end - have))
            else:
                raise Damaged("What is stored ends before its time.")
