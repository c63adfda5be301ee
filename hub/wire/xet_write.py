"""The chunk store's writing half: xorbs, shards, and whether chunks are here already."""

from __future__ import annotations

import io
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from django.db import connection
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from hub.numerals import whole
from hub.repos import chunked_uploads
from hub.store import xorbs
from hub.wire.asking import WireRequest
from hub.wire.errors import WireError, answer
from hub.wire.xet_session import Session, cas
from hub.xet import shards
from hub.xet.hashes import FormatError, from_text
from hub.xet.shards import Shard, ShardXorb
from hub.xet.xorbs import MAX_BODY

READ_AHEAD = 1 << 20
FRAME_SECONDS = 15.0
"""A client that hears nothing for 300 seconds gives up."""


@cas("POST", write=True)
def xorb(request: WireRequest, session: Session, prefix: str, text: str) -> HttpResponse:
    """`POST /v1/xorbs/{prefix}/{hash}`: read, verified and stored as a stream."""
    from_text(text)
    _length(request, MAX_BODY)
    body = io.BufferedReader(_Raw(request), READ_AHEAD)
    assert session.actor.account is not None
    return JsonResponse({"was_inserted": xorbs.receive(body.read, text, session.actor.account)})


@cas("POST", write=True)
def shard(request: WireRequest, session: Session) -> HttpResponse:
    """`POST /v1/shards`, and `/shards` of older clients: 1 if this told us something new, else 0."""
    told = shards.parse(_body(request))
    return JsonResponse({"result": int(chunked_uploads.register(session.actor, session.repo, told))})


@cas("POST", write=True)
def shard_stream(request: WireRequest, session: Session) -> HttpResponseBase:
    """`POST /v2/shards`: the same, with lines that say how far it is; the last says the result or what is wrong."""
    told = shards.parse(_body(request))
    lines = _lines(request, session, told)
    return StreamingHttpResponse(lines, content_type="application/x-ndjson")


@cas("GET", write=True)
def chunk(request: WireRequest, session: Session, prefix: str, text: str) -> HttpResponse:
    """`GET /v1/chunks/{prefix}/{hash}`: xorbs that have this chunk and that the asker may read; mostly 404."""
    found = chunked_uploads.described(session.actor, from_text(text))
    if not found:
        return JsonResponse({"error": "No such chunk is known to you."}, status=404)
    tables = {row.hash: xorbs.table_of(row.pk) for row in found}
    told = Shard((), tuple(ShardXorb(from_text(text), one.hashes, one.lengths) for text, one in tables.items()))
    expires = int(time.time()) + chunked_uploads.ANSWER_SECONDS
    return HttpResponse(shards.serialize(told, expires=expires), content_type="application/octet-stream")


@cas("POST", write=True)
def no_grant(request: WireRequest, session: Session, rest: str) -> HttpResponse:
    """Direct uploads to the object store are not offered: 404 makes clients send xorbs here."""
    raise WireError(404, "Direct uploads are not offered.")


def telemetry(request: WireRequest) -> HttpResponse:
    """`POST /v1/telemetry`, which some clients send to the origin: not kept."""
    return HttpResponse(status=204)


class _Raw(io.RawIOBase):
    """A request's body for a buffered reader: a xorb is read by many small steps."""

    def __init__(self, request: WireRequest) -> None:
        self._request = request

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._request.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _length(request: WireRequest, most: int) -> int:
    """The announced length of the body. Raises WireError (411, 413)."""
    size = whole(request.META.get("CONTENT_LENGTH"))
    if size is None:
        raise WireError(411, "Say the length of the body.")
    if size > most:
        raise WireError(413, f"The body may have {most:,} bytes.")
    return size


def _body(request: WireRequest) -> bytes:
    size = _length(request, shards.MAX_BYTES)
    pieces = []
    while size and (piece := request.read(min(size, 1 << 20))):
        pieces.append(piece)
        size -= len(piece)
    if size:
        raise FormatError("The body broke off.")
    return b"".join(pieces)


def _lines(request: WireRequest, session: Session, told: Shard) -> Iterator[str]:
    """Work in a thread of its own, so that a line can be sent while a large file is being hashed."""
    news: queue.Queue[dict[str, Any]] = queue.Queue()

    def work() -> None:
        try:
            chunked_uploads.register(
                session.actor,
                session.repo,
                told,
                lambda done, total: news.put({"type": "validating", "verified": done, "total": total}),
            )
            news.put({"type": "result"})
        except Exception as error:
            known = answer(request, error)
            status = known.status_code if known is not None else 500
            sentence = str(error) if known is not None else "Something went wrong here; try again."
            news.put({"type": "error", "message": sentence, "retryable": status >= 500})
            if known is None:
                raise
        finally:
            connection.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    last: dict[str, Any] = {"type": "validating", "verified": 0, "total": sum(file.size for file in told.files)}
    while last["type"] == "validating":
        yield json.dumps(last) + "\n"
        try:
            last = news.get(timeout=FRAME_SECONDS)
        except queue.Empty:
            if not thread.is_alive():
                last = {"type": "error", "message": "Something went wrong here; try again.", "retryable": True}
    yield json.dumps(last) + "\n"
