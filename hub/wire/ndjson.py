"""A commit's body, read as a stream: short lines in memory, long base64 contents decoded straight to scratch files.

The body is newline-delimited JSON. Memory stays within a few chunks whatever the body's size.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 64 * 1024
LONG = 32 * 1024
"""Strings longer than this go to a file, if they are base64."""

MAX_REST = 1024 * 1024
"""Of a line, without its long string."""


class BadBody(Exception):
    """The body is not what the protocol says; the message says where."""


class TooLarge(Exception):
    """The body, or one file in it, is larger than allowed."""


class Spilled(str):
    """The path of the scratch file that stands for a long string, already decoded."""

    __slots__ = ()


class Reader:
    """Yields the objects of a body, one a line. A long string becomes a `Spilled`."""

    def __init__(self, source: Callable[[int], bytes], folder: Path, *, body_limit: int, file_limit: int) -> None:
        """`source(n)` gives up to n bytes, b"" at the end; limits are in bytes (`file_limit` after decoding)."""
        self._source, self._folder = source, folder
        self._body_left, self._file_limit = body_limit, file_limit
        self._buffer = b""
        self._spilled = 0
        self._line = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (line := self._next_line()) is not None:
            self._line += 1
            text, spilled = line
            if text.strip():
                yield self._parse(text, spilled)

    def _parse(self, text: bytes, spilled: list[Path]) -> dict[str, Any]:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadBody(f"Line {self._line} of the body is not valid JSON.") from error
        if not isinstance(row, dict):
            raise BadBody(f"Line {self._line} of the body is not a JSON object.")
        value = row.get("value")
        if spilled:
            if len(spilled) > 1 or not isinstance(value, dict) or value.get("content") != "":
                raise BadBody(f"Line {self._line} is too long: only 'content' may be.")
            value["content"] = Spilled(spilled[0])
        return row

    def _fill(self) -> bool:
        chunk = self._source(CHUNK)
        if not chunk:
            return False
        self._body_left -= len(chunk)
        if self._body_left < 0:
            raise TooLarge("The commit is too large for one request; commit fewer files at a time.")
        self._buffer += chunk
        return True

    def _next_line(self) -> tuple[bytes, list[Path]] | None:
        """The next line with its long strings taken out (they leave `""`), and the files they went to."""
        kept, spilled = bytearray(), list[Path]()
        in_string = False
        while True:
            if in_string:
                long_string, piece, ended = self._rest_of_string(spilled)
                in_string = not ended
                if not long_string:
                    kept += piece
            else:
                cut = _first(self._buffer, b'"', b"\n")
                if cut < 0:
                    kept += self._buffer
                    self._buffer = b""
                    if not self._fill():
                        return (bytes(kept), spilled) if kept else None
                    continue
                mark = self._buffer[cut : cut + 1]
                kept += self._buffer[:cut]
                self._buffer = self._buffer[cut + 1 :]
                if mark == b"\n":
                    return bytes(kept), spilled
                kept += mark
                in_string = True
            if len(kept) > MAX_REST:
                raise BadBody(f"Line {self._line + 1} of the body is too long.")

    def _rest_of_string(self, spilled: list[Path]) -> tuple[bool, bytes, bool]:
        """The rest of a string after its opening quote: (went to a file, what to keep of it, its end was found)."""
        while True:
            end = _closing_quote(self._buffer)
            if end >= 0:
                piece, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
                return False, piece, True
            if len(self._buffer) > LONG and b"\\" not in self._buffer:
                spilled.append(self._spill())
                self._buffer = b'"' + self._buffer
                return True, b"", False
            if len(self._buffer) > MAX_REST:
                raise BadBody(f"Line {self._line + 1} of the body is too long.")
            if not self._fill():
                raise BadBody("The body ends in the middle of a line.")

    def _spill(self) -> Path:
        """Decode base64 up to the closing quote, which is consumed, into a new file."""
        self._spilled += 1
        path = self._folder / f"content-{self._spilled}"
        written = 0
        with path.open("wb") as out:
            while True:
                end = self._buffer.find(b'"')
                whole = end >= 0
                usable = end if whole else len(self._buffer) // 4 * 4
                data = decode(self._buffer[:usable], last=whole)
                written += out.write(data)
                if written > self._file_limit:
                    raise TooLarge(file_too_large(self._file_limit))
                self._buffer = self._buffer[usable + whole :]
                if whole:
                    return path
                if not self._fill():
                    raise BadBody("The body ends in the middle of a file.")


def decode(text: bytes | str, *, last: bool = True) -> bytes:
    """Strict base64; padding may stand only at the end of the last piece. Raises BadBody."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadBody("The content of a file is not valid base64.") from error
    if not last and text[-1:] in (b"=", "="):
        raise BadBody("The content of a file is not valid base64.")
    return data


def file_too_large(limit: int) -> str:
    """What to do with a file that does not fit into a commit's body."""
    return f"A file of a commit's body may have {limit:,} bytes; send larger ones by LFS, as preupload says."


def _first(buffer: bytes, *marks: bytes) -> int:
    found = [place for place in (buffer.find(mark) for mark in marks) if place >= 0]
    return min(found) if found else -1


def _closing_quote(buffer: bytes) -> int:
    """Where a string ends, escapes minded; -1 if not in this buffer."""
    place = buffer.find(b'"')
    while place >= 0:
        backslashes = len(buffer[:place]) - len(buffer[:place].rstrip(b"\\"))
        if backslashes % 2 == 0:
            return place
        place = buffer.find(b'"', place + 1)
    return -1


def source_of(environ: dict[str, Any], request: BinaryIO) -> Callable[[int], bytes]:
    """How to read a request's body: Django's view of it, or the raw stream if it came in chunks without a length."""
    if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
        stream: BinaryIO = environ["wsgi.input"]
        return stream.read
    return request.read
