"""One file at a revision: small ones from the database, large ones by a redirect to the store. HEAD never asks S3."""

from __future__ import annotations

import hashlib
import mimetypes
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.core.cache import cache
from django.db.models import F
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from hub.repos import standing, trees
from hub.repos.models import Commit, Repo
from hub.repos.trees import EntryNotFound, File
from hub.wire import streaming
from hub.wire.asking import WireRequest, absolute, commit_at, door, find_repo
from hub.wire.errors import WireError
from hub.wire.streaming import parse_range

_TEXTS = frozenset("md txt csv tsv yaml yml jinja vocab merges bpe gitattributes gitignore".split())
COUNT_ONCE_SECONDS = 3600


@door("GET", "HEAD", limit="resolve")
def resolve(request: WireRequest, repokind: str, owner: str, name: str, revision: str, path: str) -> HttpResponseBase:
    """`GET|HEAD /{R}/resolve/{rev}/{path}`: bytes, or 302 to them, with the headers that name commit and hash."""
    repo = find_repo(request, repokind, owner, name, upstream=True)
    standing.require_usable(repo, revision)
    commit = commit_at(repo, revision)
    try:
        file = trees.get_file(repo, commit, path)
    except EntryNotFound as error:
        headers = {"X-Repo-Commit": commit.sha}
        raise WireError(404, "Entry not found", code="EntryNotFound", headers=headers) from error
    _count_download(request, repo)
    response: HttpResponseBase = _small(request, file) if file.blob is None else _large(request, repo, commit, file)
    _name_it(response, repo, commit, file)
    return response


def _large(request: WireRequest, repo: Repo, commit: Commit, file: File) -> HttpResponseBase:
    """302 to the object of the whole file, or a stream; for chunks with what a Xet client needs to do better."""
    assert file.blob
    kind, blob = content_type(file.path), file.blob
    if blob.whole and request.method == "HEAD" and _store_is_neighbour(request):
        response: HttpResponseBase = HttpResponse(headers={"Content-Length": str(file.size)}, content_type=kind)
    elif blob.whole:
        response = streaming.redirect(blob, filename=file.path.rpartition("/")[2], content_type=kind)
    else:
        response = streaming.stream(request, blob, content_type=kind)
        if settings.XET and blob.xet_name:
            kind_of_repo = "datasets" if repo.is_task else "models"
            route = absolute(request, f"/api/{kind_of_repo}/{repo.full_name}/xet-read-token/{commit.sha}")
            response["X-Xet-Hash"] = blob.xet_name
            response["X-Xet-Refresh-Route"] = route
            response["Link"] = f'<{route}>; rel="xet-auth"'
    response["X-Linked-Etag"] = f'"{blob.sha256}"'
    response["X-Linked-Size"] = str(file.size)
    response["Cache-Control"] = "no-store"
    return response


def _store_is_neighbour(request: WireRequest) -> bool:
    """Is the store on this very host, only at another port? Some clients (1.2x to 1.3x) take that for the same place:

    they would send their HEAD on to an address that was signed for GET alone.
    """
    store: str | None = urlsplit(settings.S3_PUBLIC_ENDPOINT_URL).hostname
    return store == urlsplit(f"//{request.get_host()}").hostname


def _small(request: WireRequest, file: File) -> HttpResponse:
    """The bytes from the database: whole, a range of them, or none for HEAD and for a copy the client has."""
    if f'"{file.etag}"' in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304)
    start, end, status = 0, file.size, 200
    wanted = request.headers.get("Range", "")
    if wanted and request.headers.get("If-Range", "").strip('"') in ("", file.etag):
        span = parse_range(wanted, file.size)
        if span:
            (start, end), status = span, 206
    data = b"" if request.method == "HEAD" else file.data[start:end]
    response = HttpResponse(data, status=status, content_type=content_type(file.path))
    response["Content-Length"] = str(end - start)
    if status == 206:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    response["Cache-Control"] = "no-cache"
    return response


def _name_it(response: HttpResponseBase, repo: Repo, commit: Commit, file: File) -> None:
    """Headers that say which bytes of which commit these are."""
    name = file.path.rpartition("/")[2]
    plain = name.encode("ascii", "replace").decode().replace('"', "'")
    response["X-Repo-Commit"] = commit.sha
    response["ETag"] = f'"{file.etag}"'
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";"
    response["Access-Control-Expose-Headers"] = "X-Repo-Commit, X-Linked-Etag, X-Linked-Size, X-Xet-Hash, ETag, Link"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    if repo.private:
        response["Cache-Control"] = "private, no-store"


def content_type(path: str) -> str:
    """A type that no browser runs."""
    suffix = path.rpartition(".")[2].lower()
    if suffix in _TEXTS:
        return "text/plain; charset=utf-8"
    guessed = mimetypes.guess_type(path)[0] or "application/octet-stream"
    allowed = (guessed.startswith("image/") and "svg" not in guessed) or guessed == "application/json"
    return guessed if allowed else "application/octet-stream"


def _count_download(request: WireRequest, repo: Repo) -> None:
    """One download for each repo and client in an hour: clients that say so by header, else every GET."""
    if request.method == "HEAD" and "X-HF-Download-Counter" not in request.headers:
        return
    account = request.actor.account
    client = str(account.pk) if account else request.META.get("REMOTE_ADDR", "") + request.headers.get("User-Agent", "")
    key = f"download:{repo.pk}:{hashlib.sha256(client.encode()).hexdigest()[:24]}"
    if cache.add(key, 1, COUNT_ONCE_SECONDS):
        Repo.objects.filter(pk=repo.pk).update(downloads=F("downloads") + 1)
