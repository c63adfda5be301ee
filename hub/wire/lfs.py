"""git-lfs' batch protocol: presigned uploads and downloads, verification by hash, per-object errors.

Large bytes never pass through this process: clients send them to the store, and we read and hash them afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from hub import rights
from hub.repos import uploading
from hub.repos.models import GitObject, Repo
from hub.rights import Denied, Verb
from hub.store import blobs, objects
from hub.store.models import Upload
from hub.wire import streaming
from hub.wire.asking import WireRequest, door, find_repo, read_json, repo_url, require_account
from hub.wire.errors import WireError, bad_credentials

MEDIA_TYPE = "application/vnd.git-lfs+json"
MAX_OBJECTS = 1000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SALT = "hub.wire.lfs.complete"
_READ_SALT = "hub.wire.lfs.chunked"


class _Unusable(Exception):
    """One object of a batch cannot be served: code and sentence, in its own row."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.row = {"code": code, "message": message}


@door("POST")
def batch(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST /{R}.git/info/lfs/objects/batch`, operations `upload` and `download`."""
    repo, body = find_repo(request, repokind, owner, name), read_json(request)
    operation, transfers = body.get("operation"), body.get("transfers") or ["basic"]
    if body.get("hash_algo", "sha256") != "sha256":
        raise WireError(409, "Only sha256 is spoken here.")
    if operation not in ("upload", "download"):
        raise WireError(422, "The operation of a batch is 'upload' or 'download'.")
    wanted = body.get("objects")
    if not isinstance(wanted, list) or len(wanted) > MAX_OBJECTS:
        raise WireError(413, f"A batch has a list of {MAX_OBJECTS} objects at most.")
    if operation == "download":
        return _answer("basic", [_row(item, lambda oid, _size: _download(request, repo, oid)) for item in wanted])
    require_account(request)
    rights.require(request.actor, Verb.PROPOSE, repo)  # a change request needs no more
    multipart = "multipart" in transfers
    rows = [_row(item, lambda oid, size: _upload(request, repo, oid, size, multipart=multipart)) for item in wanted]
    in_parts = any("header" in row.get("actions", {}).get("upload", {}) for row in rows)
    return _answer("multipart" if in_parts else "basic", rows)


@door("POST")
def verify(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST …/lfs/verify` `{oid, size}`: read what arrived, hash it, keep it if it is what was announced."""
    require_account(request)
    repo, body = find_repo(request, repokind, owner, name), read_json(request)
    oid, size = body.get("oid"), body.get("size")
    if not isinstance(oid, str) or not _SHA256.fullmatch(oid):
        raise WireError(422, "Name the object by its sha256, in 64 lower-case hex digits.")
    blob = uploading.usable(request.actor, repo, oid)
    if blob is None or blob.size != size:
        raise WireError(422, "That object has not arrived; ask for a batch and send it first.")
    return JsonResponse({"oid": oid, "size": size})


@door("POST")
def complete(request: WireRequest, repokind: str, owner: str, name: str, ticket: str) -> HttpResponse:
    """Join the parts of a multipart upload. The client sends no token here: the signed ticket stands for it."""
    try:
        key = signing.loads(ticket, salt=_SALT, max_age=settings.LIMITS["upload_seconds"])
    except signing.BadSignature as error:
        raise bad_credentials() from error
    upload = Upload.objects.filter(pk=key, expires_at__gt=timezone.now()).first()
    if upload is None:
        raise WireError(404, "This upload is over; ask for a batch again.")
    blobs.finish_upload(upload, _etags(read_json(request), upload))
    return JsonResponse({"success": True, "oid": upload.sha256})


@door("GET", "POST")
def no_locks(request: WireRequest, repokind: str, owner: str, name: str, rest: str = "") -> HttpResponse:
    """`…/lfs/locks…`: git-lfs asks before a push and goes on when locks are not offered."""
    raise WireError(501, "File locks are not offered.")


def _upload(request: WireRequest, repo: Repo, oid: str, size: int, *, multipart: bool) -> dict[str, Any]:
    """Where to send an object; no actions if it is here and the actor may know."""
    if size > settings.LIMITS["file_bytes"]:
        raise _Unusable(422, f"{size:,} bytes are more than the {settings.LIMITS['file_bytes']:,} allowed.")
    part_size = blobs.part_size(size) if multipart else 0
    upload = uploading.begin(actor=request.actor, repo=repo, sha256=oid, size=size, part_size=part_size)
    if upload is None:
        return {}
    base = f"{repo_url(request, repo)}.git/info/lfs"
    action = _parts(upload, base) if part_size else _single(upload)
    # "authenticated" keeps git-lfs from sending the token to the store; it then needs to be told it for our own route
    verify = {"href": f"{base}/verify", "header": {"Authorization": request.headers.get("Authorization", "")}}
    return {"actions": {"upload": action, "verify": verify}, "authenticated": True}


def _single(upload: Upload) -> dict[str, Any]:
    seconds = settings.LIMITS["upload_seconds"]
    address = objects.presigned_put(upload.key, size=upload.size, seconds=seconds)
    return {"href": address, "expires_in": seconds}


def _parts(upload: Upload, base: str) -> dict[str, Any]:
    """One address for each part, and the one that joins them."""
    seconds = settings.LIMITS["upload_seconds"]
    header = {"chunk_size": str(upload.part_size)}
    for number in range(1, upload.parts + 1):
        header[f"{number:05d}"] = objects.presigned_part(upload.key, upload.multipart_id, number, seconds=seconds)
    ticket = signing.dumps(str(upload.pk), salt=_SALT)
    return {"href": f"{base}/complete/{ticket}", "header": header, "expires_in": seconds}


def _download(request: WireRequest, repo: Repo, oid: str) -> dict[str, Any]:
    """An address of an object of this repo: the store's, or for one kept in chunks a signed one of ours."""
    row = GitObject.objects.select_related("large").filter(repo=repo, large_id=oid).first()
    if row is None or row.large is None:
        raise _Unusable(404, "This repo has no such object.")
    seconds = settings.LIMITS["presigned_seconds"]
    if row.large.whole:
        kind = "application/octet-stream"
        address = objects.presigned_get(row.large.key, filename=oid, content_type=kind, seconds=seconds)
    else:
        ticket = signing.dumps([repo.pk.hex, oid], salt=_READ_SALT)
        address = f"{repo_url(request, repo)}.git/info/lfs/chunked/{ticket}"
    return {"actions": {"download": {"href": address, "expires_in": seconds}}, "authenticated": True}


@door("GET", "HEAD", limit="resolve")
def chunked(request: WireRequest, repokind: str, owner: str, name: str, ticket: str) -> HttpResponseBase:
    """The bytes of an object kept in chunks, for whoever holds the signed ticket that a batch gave out."""
    try:
        key, oid = signing.loads(ticket, salt=_READ_SALT, max_age=settings.LIMITS["presigned_seconds"])
    except signing.BadSignature as error:
        raise bad_credentials() from error
    row = GitObject.objects.select_related("large").filter(repo=key, large_id=oid).first()
    if row is None or row.large is None:
        raise WireError(404, "This repo has no such object.")
    return streaming.stream(request, row.large, content_type="application/octet-stream")


def _row(item: Any, serve: Callable[[str, int], dict[str, Any]]) -> dict[str, Any]:
    """One object's row: its actions, or what is wrong with it alone."""
    oid = item.get("oid") if isinstance(item, dict) else None
    size = _int(item.get("size")) if isinstance(item, dict) else -1
    row: dict[str, Any] = {"oid": str(oid)[:64], "size": max(0, size)}
    try:
        if not isinstance(oid, str) or not _SHA256.fullmatch(oid) or size < 0:
            raise _Unusable(422, "An object has a sha256 as 'oid' and its number of bytes as 'size'.")
        return row | serve(oid, size)
    except _Unusable as error:
        return row | {"error": error.row}
    except Denied as error:
        return row | {"error": {"code": 403, "message": str(error)}}


def _int(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 60 else -1


def _etags(body: dict[str, Any], upload: Upload) -> dict[int, str]:
    """Part number → etag, as the store gave them to the client."""
    parts = body.get("parts")
    if body.get("oid") != upload.sha256 or not isinstance(parts, list) or len(parts) != upload.parts:
        raise WireError(400, f"Name the object and its {upload.parts} parts.")
    found = {}
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("etag"), str) or _int(part.get("partNumber")) < 1:
            raise WireError(400, "Every part has a 'partNumber' and an 'etag'.")
        found[part["partNumber"]] = part["etag"].strip('"')
    if set(found) != set(range(1, upload.parts + 1)):
        raise WireError(400, f"The parts are numbered 1 to {upload.parts}.")
    return found


def _answer(transfer: str, rows: list[dict[str, Any]]) -> HttpResponse:
    return JsonResponse({"transfer": transfer, "objects": rows, "hash_algo": "sha256"}, content_type=MEDIA_TYPE)
