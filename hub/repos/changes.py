"""The changes a commit is made of, and where their bytes come from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from hub.repos import gitformat
from hub.repos.attributes import Attributes
from hub.repos.policy import Candidate
from hub.store.blobs import store_bytes, store_file
from hub.store.models import Blob
from hub.store.reading import read_range

LARGE_SUFFIXES = frozenset(".safetensors .parquet .png .jpg .jpeg .gif .webp .model".split())


@dataclass(frozen=True)
class Inline:
    """Bytes in hand."""

    data: bytes


@dataclass(frozen=True)
class OnDisk:
    """A local file: a streamed commit body, or what a job wrote."""

    file: Path


@dataclass(frozen=True)
class Stored:
    """Bytes that are a blob already."""

    blob: Blob


Content = Inline | OnDisk | Stored


@dataclass(frozen=True)
class Put:
    """Create or replace a file."""

    path: str
    content: Content


@dataclass(frozen=True)
class Delete:
    """Remove a file; it must exist."""

    path: str


@dataclass(frozen=True)
class DeleteFolder:
    """Remove a folder and all below; it must exist."""

    path: str


Change = Put | Delete | DeleteFolder


@dataclass(frozen=True)
class Ready:
    """A file whose bytes are safe: the body of its git object, and its blob if it is large."""

    path: str
    sha: str
    body: bytes
    size: int
    blob: Blob | None


def is_large(path: str, size: int) -> bool:
    """Are such files kept in the object store (with an LFS pointer in git) rather than in the database?"""
    return Path(path).suffix.lower() in LARGE_SUFFIXES or size > settings.LIMITS["inline_bytes"]


def candidate(put: Put) -> Candidate:
    """The file as policy sees it."""
    content = put.content
    if isinstance(content, Inline):
        return Candidate(put.path, len(content.data), lambda start, end: content.data[start:end])
    if isinstance(content, OnDisk):
        return Candidate(put.path, content.file.stat().st_size, _file_reader(content.file))
    blob = content.blob
    return Candidate(put.path, blob.size, lambda start, end: read_range(blob, start, end))


def _file_reader(file: Path) -> Callable[[int, int], bytes]:
    def read(start: int, end: int) -> bytes:
        with file.open("rb") as body:
            body.seek(start)
            return body.read(end - start)

    return read


def make_ready(put: Put, attributes: Attributes | None = None) -> Ready:
    """Store the bytes where they belong, before the transaction. Raises StoreError."""
    wished = attributes is not None and attributes.keeps_by_lfs(put.path)

    def is_large_here(size: int) -> bool:
        return is_large(put.path, size) or (wished and size > 0)

    content, blob = put.content, None
    if isinstance(content, Stored):
        if is_large_here(content.blob.size):
            blob = content.blob
        else:
            content = Inline(read_range(content.blob, 0, content.blob.size))
    elif isinstance(content, OnDisk):
        if is_large_here(content.file.stat().st_size):
            blob = store_file(content.file)
        else:
            content = Inline(content.file.read_bytes())
    elif is_large_here(len(content.data)):
        blob = store_bytes(content.data)
    if blob is not None:
        body = gitformat.pointer(blob.sha256, blob.size)
        return Ready(put.path, gitformat.blob_sha(body), body, blob.size, blob)
    assert isinstance(content, Inline)
    return Ready(put.path, gitformat.blob_sha(content.data), content.data, len(content.data), None)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for bytes on their way; gone when the context ends."""
    return tempfile.TemporaryDirectory(prefix="tessera-")
