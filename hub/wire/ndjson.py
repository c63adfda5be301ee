"""A commit's body, read as a stream: short lines in memory, long base64 contents decoded straight to scratch files.

The body is newline-delimited JSON. Memory stays within a few chunks whatever the body's size.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 64 * 1024
LONG = 64 * 1024
"""A line longer than this has its `content` taken out; what remains of it must be shorter."""

LONG_STRING = 16 * 1024
MAX_LINES = 20_000
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_CONTENT = re.compile(rb'"content"\s*:\s*\Z')


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
        self._buffer, self._at = b"", 0
        self._spilled = 0
        self._line = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (line := self._next_line()) is not None:
            text, spilled = line
            if text.strip():
                yield self._parse(text, spilled)

    def _parse(self, text: bytes, spilled: Path | None) -> dict[str, Any]:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadBody(f"Line {self._line} of the body is not valid JSON.") from error
        if not isinstance(row, dict):
            raise BadBody(f"Line {self._line} of the body is not a JSON object.")
        value = row.get("value")
        if spilled:
            if not isinstance(value, dict) or value.get("content") != "":
                raise self._too_long()
            value["content"] = Spilled(spilled)
        return row

    def _too_long(self) -> BadBody:
        return BadBody(f"Line {self._line} of the body is too long: only the 'content' of a file may be.")

    def _fill(self) -> bool:
        """Read on; False at the end."""
        chunk = self._source(CHUNK)
        self._body_left -= len(chunk)
        if self._body_left < 0:
            raise TooLarge("The commit is too large for one request; commit fewer files at a time.")
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _next_line(self) -> tuple[bytes, Path | None] | None:
        """The next line; of a long one without its content, and the file that went to. JSON has no raw line ends."""
        self._line += 1
        if self._line > MAX_LINES:
            raise BadBody(f"A body may have {MAX_LINES} lines at most.")
        line = self._short_line()
        if line is None:
            before = self._before_content()
            spilled = self._spill()
            line = self._short_line()
            if line is None:
                raise self._too_long()
            return before + b'"' + line, spilled
        return (line, None) if line or self._at < len(self._buffer) or self._fill() else None

    def _short_line(self) -> bytes | None:
        """What is left of this line, its end included in what was read; None if that is too long."""
        while True:
            end = self._buffer.find(b"\n", self._at)
            if end >= 0:
                start, self._at = self._at, end + 1
                return self._buffer[start:end]
            if len(self._buffer) - self._at > LONG:
                return None
            if not self._fill():
                start, self._at = self._at, len(self._buffer)
                return self._buffer[start:]

    def _before_content(self) -> bytes:
        """A long line up to and with the opening quote of its content."""
        place = self._at
        while True:
            place = self._buffer.find(b'"', place)
            string = _STRING.match(self._buffer, place) if place >= 0 else None
            if string is None:
                raise self._too_long()
            if string.end() - place >= LONG_STRING:
                break
            place = string.end()
        before, self._at = self._buffer[self._at : place + 1], place + 1
        if not _CONTENT.search(before[:-1]):
            raise self._too_long()
        return before

    def _spill(self) -> Path:
        """Decode base64 up to the closing quote, which is consumed, into a new file."""
        self._spilled += 1
        path, written = self._folder / f"content-{self._spilled}", 0
        with path.open("wb") as out:
            while True:
                end = self._buffer.find(b'"', self._at)
                usable = end if end >= 0 else self._at + (len(self._buffer) - self._at) // 4 * 4
                written += out.write(decode(self._buffer[self._at : usable], last=end >= 0))
                if written > self._file_limit:
                    raise TooLarge(file_too_large(self._file_limit))
                self._at = usable + (end >= 0)
                if end >= 0:
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


def source_of(environ: dict[str, Any], request: BinaryIO) -> Callable[[int], bytes]:
    """How to read a request's body: Django's view of it, or the raw stream if it came in chunks without a length."""
    if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
        stream: BinaryIO = environ["wsgi.input"]
        return stream.read
    return request.read
