"""The chunk store's reading half: which ranges of which xorbs make a file, with addresses for exactly those ranges.

An address is signed with its range: whoever may read a file reads its chunks, not what else stands in the same xorb.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponse, JsonResponse

from hub.repos import xet_names
from hub.repos.models import GitObject
from hub.store import chunked, objects
from hub.store.models import Blob, BlobState, Xorb
from hub.store.xorbs import table_of
from hub.wire.asking import WireRequest
from hub.wire.errors import WireError
from hub.wire.streaming import parse_range
from hub.wire.xet_session import Session, cas
from hub.xet import planning
from hub.xet.hashes import from_text


@cas("GET")
def reconstruction(request: WireRequest, session: Session, text: str, version: int) -> HttpResponse:
    """`GET /v1|v2/reconstructions/{file hash}` with `Range` in bytes of the file."""
    from_text(text)
    blob = _blob(session, text)
    first, last = 0, blob.size
    if wanted := request.headers.get("Range", ""):
        first, last = parse_range(wanted, blob.size) or (first, last)
    terms = chunked.terms_of(blob, first, last)
    plan = planning.plan(terms, {term.xorb: table_of(term.xorb) for term in terms}, first, last)
    names = dict(Xorb.objects.filter(pk__in={term.xorb for term in plan.terms}).values_list("pk", "hash"))
    answer: dict[str, Any] = {
        "offset_into_first_range": plan.skip,
        "terms": [
            {"hash": names[term.xorb], "unpacked_length": term.size, "range": {"start": term.start, "end": term.end}}
            for term in plan.terms
        ],
    }
    fetches = {names[key]: _fetches(key, names[key], pairs) for key, pairs in planning.ranges(plan.terms).items()}
    if version == 1:
        answer["fetch_info"] = {
            name: [{"range": chunks, "url": url, "url_range": body} for chunks, body, url in rows]
            for name, rows in fetches.items()
        }
    else:
        answer["xorbs"] = {
            name: [{"url": url, "ranges": [{"chunks": chunks, "bytes": body}]} for chunks, body, url in rows]
            for name, rows in fetches.items()
        }
    response = JsonResponse(answer)
    response["Cache-Control"] = "no-store"
    return response


def _blob(session: Session, text: str) -> Blob:
    """The file if it stands in the repo of the session. Raises WireError (404)."""
    rows = GitObject.objects.filter(repo=session.repo, large__xet_hash=text, large__state=BlobState.PRESENT)
    row = rows.select_related("large").first()
    blob = row.large if row else xet_names.cut_named(session.repo, text)
    if blob is None:
        raise WireError(404, "This repo has no such file.")
    return blob


def _fetches(key: int, name: str, pairs: list[tuple[int, int]]) -> list[tuple[dict[str, int], dict[str, int], str]]:
    """(chunk numbers, positions in the body with inclusive end, address) for each range of a xorb."""
    rows = []
    for start, end in pairs:
        first, last = table_of(key).body_range(start, end)
        address = objects.presigned_range(
            Xorb(hash=name).key, first, last, seconds=settings.LIMITS["presigned_seconds"]
        )
        rows.append(({"start": start, "end": end}, {"start": first, "end": last - 1}, address))
    return rows
