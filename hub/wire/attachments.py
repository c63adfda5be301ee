"""Pictures for comments: sent as they are, shown to whoever may read a comment that names them."""

from __future__ import annotations

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from hub.pages.middleware import public_url
from hub.review import attachments
from hub.wire import streaming
from hub.wire.asking import WireRequest, door, require_account
from hub.wire.errors import WireError

_KINDS = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}


@door("POST", limit="write")
def send(request: WireRequest) -> HttpResponse:
    """`POST /uploads`: the bytes of a picture; the answer is its address, for a comment."""
    require_account(request)
    row = attachments.keep(actor=request.actor, data=request.read(attachments.MOST_BYTES + 1))
    return HttpResponse(public_url(row.get_absolute_url()), content_type="text/plain; charset=utf-8")


@door("GET", "HEAD", limit="resolve")
def show(request: WireRequest, name: str) -> HttpResponseBase:
    """`GET /uploads/{key}.{suffix}`."""
    row = attachments.visible_to(request.actor).filter(key=name.partition(".")[0]).first()
    if row is None:
        raise WireError(404, "There is no such picture, or you may not see it.")
    kind = _KINDS[row.suffix]
    if row.blob.whole:
        response: HttpResponseBase = streaming.redirect(row.blob, filename=name, content_type=kind)
    else:
        response = streaming.stream(request, row.blob, content_type=kind)
    response["Cache-Control"] = "private, no-store"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
