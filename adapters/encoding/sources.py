"""Where bytes come from while a file is rebuilt: its inputs by number, and its own payload."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol


class Damaged(Exception):
    """What is rebuilt is not what was encoded; nothing of the block was handed out."""


class Sources(Protocol):
    """Exact ranges of the inputs and of the payload. A read beyond an end raises Damaged."""

    def input(self, number: int, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of one input."""

    def payload(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of the payload."""


class FileSources:
    """Local files as sources. Use as a context manager."""

    def __init__(self, inputs: Sequence[Path], payload: Path | None = None) -> None:
        self._descriptors: list[int] = []
        self._payload = -1
        try:
            for path in inputs:
                self._descriptors.append(os.open(path, os.O_RDONLY))
            if payload is not None:
                self._payload = os.open(payload, os.O_RDONLY)
        except BaseException:
            self.close()
            raise

    def input(self, number: int, start: int, end: int) -> bytes:
        """Bytes of one input. Raises Damaged."""
        return _exactly(self._descriptors[number], start, end)

    def payload(self, start: int, end: int) -> bytes:
        """Bytes of the payload. Raises Damaged."""
        return _exactly(self._payload, start, end)

    def close(self) -> None:
        """Close all files."""
        for descriptor in (*self._descriptors, *([self._payload] if self._payload >= 0 else [])):
            os.close(descriptor)
        self._descriptors, self._payload = [], -1

    def __enter__(self) -> FileSources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _exactly(descriptor: int, start: int, end: int) -> bytes:
    parts, at = [], start
    while at < end:
        part = os.pread(descriptor, end - at, at)
        if not part:
            raise Damaged("A file ends before what is to be read of it.")
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
