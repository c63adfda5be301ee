"""Git's smart HTTP, version 0: stock `git clone`, `fetch` and `push` of any repo, with a token as password."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from hub import rights
from hub.repos import standing
from hub.repos.models import DEFAULT_BRANCH, ZERO_SHA, Ref, Repo
from hub.rights import Verb
from hub.wire import fetching, packfile, receiving
from hub.wire.asking import WireRequest, door, find_repo
from hub.wire.errors import WireError, bad_credentials
from hub.wire.fetching import Ask, Graph
from hub.wire.packfile import FLUSH, packet

FETCH_CAPABILITIES = (
    "multi_ack_detailed side-band-64k shallow no-progress allow-tip-sha1-in-want allow-reachable-sha1-in-want "
    "object-format=sha1 agent=tessera"
)
PUSH_CAPABILITIES = "report-status delete-refs side-band-64k quiet no-thin object-format=sha1 agent=tessera"
MAX_ASK_BYTES, MAX_WANTS = 8 * 1024 * 1024, 5_000
_NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}


@door("GET", limit="resolve")
def info_refs(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`GET /{R}[.git]/info/refs?service=…`: the refs, and what can be asked. The dumb protocol is not offered."""
    service = request.GET.get("service", "")
    if service not in ("git-upload-pack", "git-receive-pack"):
        raise WireError(403, "Use a git client that speaks the smart protocol.")
    repo = find_repo(request, repokind, owner, name)
    pushing = service == "git-receive-pack"
    if pushing:
        _require_pusher(request, repo)
    body = [packet(b"# service=%s\n" % service.encode()), FLUSH, *_advertised(repo, pushing=pushing), FLUSH]
    return HttpResponse(b"".join(body), content_type=f"application/x-{service}-advertisement", headers=_NO_CACHE)


@csrf_exempt
@door("POST", limit="resolve")
def upload_pack(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponseBase:
    """`POST /{R}[.git]/git-upload-pack`: what the client lacks, as one pack."""
    repo = find_repo(request, repokind, owner, name)
    standing.require_usable(repo, DEFAULT_BRANCH)
    body = _body(request, MAX_ASK_BYTES)
    try:
        ask = _read_ask(body)
    except (packfile.BadPack, ValueError) as error:
        raise WireError(400, str(error) or "This is not git's packet format.") from error
    graph = Graph.of(repo)
    strange = [sha for sha in ask.wants if sha not in graph.parents]
    if strange:
        return _answer([packet(f"ERR upload-pack: not our ref {strange[0][:40]}".encode())])
    return _answer(_served(repo, graph, ask))


@csrf_exempt
@door("POST", limit="write")
def receive_pack(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponseBase:
    """`POST /{R}[.git]/git-receive-pack`: commits made elsewhere, held to the same rules as all others."""
    repo = find_repo(request, repokind, owner, name)
    _require_pusher(request, repo)
    body = _body(request, settings.LIMITS["commit_bytes"])
    report = receiving.receive(request.actor, repo, body)
    return HttpResponse(report, content_type="application/x-git-receive-pack-result", headers=_NO_CACHE)


def _require_pusher(request: WireRequest, repo: Repo) -> None:
    """Git asks for a password on 401 only. Refs are checked one by one later; proposing is the least one needs."""
    if request.actor.account is None:
        raise bad_credentials()
    rights.require(request.actor, Verb.PROPOSE, repo)


def _advertised(repo: Repo, *, pushing: bool) -> Iterator[bytes]:
    refs = {ref.name: ref.target for ref in Ref.objects.filter(repo=repo).order_by("name") if ref.target != ZERO_SHA}
    capabilities = PUSH_CAPABILITIES if pushing else FETCH_CAPABILITIES
    main = f"refs/heads/{DEFAULT_BRANCH}"
    listed = list(refs.items())
    if not pushing and main in refs:
        capabilities += f" symref=HEAD:{main}"
        listed.insert(0, ("HEAD", refs[main]))
    if not listed:
        listed = [("capabilities^{}", ZERO_SHA)]
    for number, (name, sha) in enumerate(listed):
        yield packet(f"{sha} {name}{chr(0) + capabilities if number == 0 else ''}\n".encode())


def _read_ask(body: BinaryIO) -> Ask:
    """Wants, depth, then haves and `done`. Raises BadPack, ValueError."""
    ask, in_wants = Ask(), True
    for line in packfile.packets(body.read):
        if line is None:
            ask.rounds += 0 if in_wants else 1
            in_wants = False
            continue
        word, _, rest = line.decode().partition(" ")
        if word == "want":
            sha, _, capabilities = rest.partition(" ")
            ask.wants.append(sha)
            ask.capabilities |= set(capabilities.split())
        elif word == "shallow":
            ask.shallow.add(rest)
        elif word == "deepen":
            ask.depth = max(0, int(rest))
        elif word == "have":
            ask.haves.append(rest)
        elif word == "done":
            ask.done = True
        else:
            raise ValueError(f"'{word[:40]}' is not understood here.")
        if len(ask.wants) > MAX_WANTS:
            raise ValueError(f"Ask for {MAX_WANTS} commits at most.")
    return ask


def _served(repo: Repo, graph: Graph, ask: Ask) -> Iterator[bytes]:
    """Shallow lines, acknowledgements, and, when the client is done asking, the pack."""
    if not ask.wants:
        return
    if ask.depth:
        cut, opened = fetching.boundary(graph, ask)
        yield from (packet(f"shallow {sha}".encode()) for sha in sorted(cut))
        yield from (packet(f"unshallow {sha}".encode()) for sha in sorted(opened))
        yield FLUSH
    common = [sha for sha in ask.haves if sha in graph.parents]
    detailed = "multi_ack_detailed" in ask.capabilities
    if detailed:
        yield from (packet(f"ACK {sha} common\n".encode()) for sha in common)
    if not ask.done:
        if ask.rounds:
            if detailed and common and graph.reach(ask.wants, stop=graph.reach(common)).isdisjoint(_roots(graph)):
                yield packet(f"ACK {common[-1]} ready\n".encode())
            yield packet(b"NAK\n") if detailed or not common else packet(f"ACK {common[0]}\n".encode())
        return
    yield packet(f"ACK {common[-1]}\n".encode()) if common else packet(b"NAK\n")
    shas = fetching.needed(repo, graph, ask)
    pack = packfile.write(len(shas), ((kind, data) for _sha, kind, data in fetching.rows(repo, shas)))
    if "side-band-64k" in ask.capabilities:
        yield from packfile.sideband(pack)
        yield FLUSH
    else:
        yield from pack


def _roots(graph: Graph) -> set[str]:
    return {sha for sha, parents in graph.parents.items() if not parents}


def _answer(parts: Iterator[bytes] | list[bytes]) -> HttpResponseBase:
    kind = "application/x-git-upload-pack-result"
    return StreamingHttpResponse(parts, content_type=kind, headers=_NO_CACHE)


def _body(request: WireRequest, most: int) -> BinaryIO:
    """The body, unzipped if it came zipped, and never longer than `most`. Reading past that raises WireError (413)."""
    stream: BinaryIO = cast("BinaryIO", request)
    if not request.META.get("CONTENT_LENGTH") and request.META.get("wsgi.input_terminated"):
        stream = request.META["wsgi.input"]
    if request.headers.get("Content-Encoding") in ("gzip", "x-gzip"):
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    return cast("BinaryIO", _Bounded(stream, most))


class _Bounded(io.RawIOBase):
    """A stream that ends with WireError instead of going on for ever."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        super().__init__()
        self._stream, self._left = stream, most

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes. Raises WireError: 413 beyond the limit, 400 for what cannot be unzipped."""
        parts: list[bytes] = []
        wanted = self._left + 1 if size < 0 else size
        try:
            while wanted > 0 and (part := self._stream.read(min(wanted, 65_536))):
                parts.append(part)
                wanted -= len(part)
                self._left -= len(part)
        except (EOFError, OSError, zlib.error) as error:
            raise WireError(400, "The body of the request is damaged.") from error
        if self._left < 0:
            raise WireError(413, "This is more than one request may send; push fewer commits at a time.")
        return b"".join(parts)
