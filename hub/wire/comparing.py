"""Two revisions of a repo as one text."""

from __future__ import annotations

from django.http import HttpResponse

from hub.review import diffs
from hub.wire.asking import WireRequest, commit_at, door, find_repo
from hub.wire.errors import WireError


@door("GET")
def compare(request: WireRequest, repokind: str, owner: str, name: str, revisions: str) -> HttpResponse:
    """`GET /api/{T}/{R}/compare/{a}..{b}`: what `b` changed since `a`, as a unified diff."""
    repo = find_repo(request, repokind, owner, name)
    before, dots, after = revisions.partition("..")
    if not dots or not before or not after.lstrip("."):
        raise WireError(400, "Name two revisions with two dots between them: main..refs%2Fpr%2F1.")
    text = diffs.unified(repo, commit_at(repo, before), commit_at(repo, after.lstrip(".")))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")
