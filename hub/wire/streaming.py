"""Large files by plain HTTP: a redirect to the store for whole objects, a verified stream for those kept in chunks."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from hub.repos import hot
from hub.store import objects, reading
from hub.store.models import Blob
from hub.wire.errors import WireError

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def redirect(blob: Blob, *, filename: str, content_type: str) -> HttpResponse:
    """302 to a presigned address. Its signing is a local computation, so HEAD costs nothing at the store."""
    response = HttpResponse(status=302)
    response["Location"] = objects.presigned_get(
        blob.key,
        filename=filename,
        content_type=content_type,
        seconds=settings.LIMITS["presigned_seconds"],
        inline=True,
    )
    return response


def stream(request: HttpRequest, blob: Blob, *, content_type: str) -> HttpResponseBase:
    """The bytes or a range of them, rebuilt chunk by chunk and checked on the way; resumable, in constant memory."""
    if f'"{blob.sha256}"' in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304)
    start, end, status = 0, blob.size, 200
    wanted = request.headers.get("Range", "")
    if wanted and request.headers.get("If-Range", "").strip('"') in ("", blob.sha256):
        span = parse_range(wanted, blob.size)
        if span:
            (start, end), status = span, 206
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse(status=status, content_type=content_type)
    else:
        if status == 200:
            hot.count(blob)
        response = StreamingHttpResponse(_Held(blob, start, end), status=status, content_type=content_type)
    response["Content-Length"] = str(end - start)
    response["Accept-Ranges"] = "bytes"
    if status == 206:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
    return response


class _Held:
    """The pieces of a download that holds one of this process's few places: slow readers must not take all threads."""

    _places = threading.BoundedSemaphore(settings.LIMITS["streams"])

    def __init__(self, blob: Blob, start: int, end: int) -> None:
        """Raises WireError (503) if all places are taken."""
        if not self._places.acquire(blocking=False):
            busy = "Too many downloads of this kind at once; try again in a few seconds, or use a client with Xet."
            raise WireError(503, busy, headers={"Retry-After": "5"})
        self._pieces, self._open = reading.stream(blob, start, end), True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """Give the place back; called by the server however the download ended."""
        if self._open:
            self._open = False
            self._places.release()


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """(start, end exclusive) of one range; None for forms we answer with the whole file. Raises WireError (416)."""
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if len(first) > 18 or len(last) > 18:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size or end <= start:
        headers = {"Content-Range": f"bytes */{size}"}
        raise WireError(416, f"The file has {size} bytes; that range is outside.", headers=headers)
    return start, end
