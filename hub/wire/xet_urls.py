"""Addresses of Xet: the tokens of a repo, and the chunk store below casUrl (`/api/xet/<account>/<epoch>`)."""

from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt

from hub.wire import converters, xet_read, xet_session, xet_write

assert converters  # importing registers them

_REPO = "api/<repokind:repokind>/<str:owner>/<str:name>"
_BASE = "api/xet/<str:account>/<str:epoch>"
_BY_VERSION = {"v2/reconstructions": 2, "v1/reconstructions": 1, "reconstructions": 1, "reconstruction": 1}
"""Clients of several ages ask for the same by several names."""

patterns: list[URLPattern] = [
    path(f"{_REPO}/xet-read-token/<revision:revision>", xet_session.read_token),
    path(f"{_REPO}/xet-write-token/<revision:revision>", xet_session.write_token),
    path(f"{_BASE}/v1/xorbs/<str:prefix>/<str:text>", xet_write.xorb),
    path(f"{_BASE}/v1/shards", xet_write.shard),
    path(f"{_BASE}/shards", xet_write.shard),
    path(f"{_BASE}/v2/shards", xet_write.shard_stream),
    path(f"{_BASE}/v1/chunks/<str:prefix>/<str:text>", xet_write.chunk),
    path(f"{_BASE}/v1/xorb-grants/<path:rest>", xet_write.no_grant),
    *[
        path(f"{_BASE}/{name}/<str:text>", xet_read.reconstruction, {"version": version})
        for name, version in _BY_VERSION.items()
    ],
    path("v1/telemetry", csrf_exempt(xet_write.telemetry)),
]
