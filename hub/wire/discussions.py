"""Change requests, under the names the client has for them: discussions and pull requests."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpResponse, JsonResponse

from hub.repos import commits, trees
from hub.repos.models import Repo
from hub.review import change_requests, conversation, diffs, merging
from hub.review.models import ChangeRequest, Comment, State
from hub.wire.asking import WireRequest, door, find_repo, flag, number_of, read_json, require_account, text_of
from hub.wire.errors import WireError
from hub.wire.shapes import name_of, when

PAGE = 50
_OPEN = Q(state__in=(State.OPEN, State.DRAFT))


@door("GET")
def list_discussions(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`GET …/discussions?p=&type=&status=&author=`."""
    repo = find_repo(request, repokind, owner, name)
    found = ChangeRequest.objects.filter(repo=repo).select_related("author").order_by("-number")
    status = request.GET.get("status", "all")
    if status in ("open", "closed"):
        found = found.filter(_OPEN if status == "open" else ~_OPEN)
    if request.GET.get("author"):
        found = found.filter(author__name__iexact=request.GET["author"].replace("\x00", ""))
    if (kind := request.GET.get("type")) in ("discussion", "pull_request"):
        found = found.filter(talk=kind == "discussion")
    start = number_of(request, "p", 0) * PAGE
    rows = [_item(repo, row) for row in found[start : start + PAGE]]
    return JsonResponse({"discussions": rows, "count": found.count(), "start": start, "numClosedDiscussions": 0})


@door("POST", limit="write")
def open_discussion(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`POST …/discussions` `{title, description, pullRequest}`: an empty draft, whose ref exists at once.

    What other hubs call a discussion is here a change request to which nothing has been proposed yet.
    """
    require_account(request)
    repo, body = find_repo(request, repokind, owner, name), read_json(request)
    commits.begin(actor=request.actor, repo=repo)
    row = change_requests.open_change_request(
        actor=request.actor, repo=repo, title=text_of(body, "title"), description=text_of(body, "description"),
        draft=True, talk=not flag(body.get("pullRequest")),
    )  # fmt: skip
    return JsonResponse({"num": row.number, "pullRequest": not row.talk, **_item(repo, row)}, status=201)


@door("GET")
def discussion(request: WireRequest, repokind: str, owner: str, name: str, number: int) -> HttpResponse:
    """`GET …/discussions/{n}[?diff=1]`: its events, and what it would change."""
    repo, row = _find(request, repokind, owner, name, number)
    body = _item(repo, row)
    body["events"] = [_event(row, event) for event in row.comments.select_related("author")]
    if row.talk:
        return JsonResponse(body)
    body["changes"] = {"base": row.target} | ({"mergeCommitId": row.merged_as} if row.merged_as else {})
    body["filesWithConflicts"] = merging.conflicts(row) if row.state in (State.OPEN, State.DRAFT) else []
    if flag(request.GET.get("diff")):
        head = trees.resolve_commit(repo, row.ref)
        body["diff"] = diffs.unified(repo, trees.resolve_commit(repo, row.base), head)
    return JsonResponse(body)


@door("POST", limit="write")
def comment(request: WireRequest, repokind: str, owner: str, name: str, number: int) -> HttpResponse:
    """`POST …/{n}/comment` `{comment}`."""
    _repo, row = _find(request, repokind, owner, name, number)
    text = text_of(read_json(request), "comment")
    made = change_requests.comment(actor=request.actor, request=row, text=text)
    return JsonResponse({"newMessage": _event(row, made)})


@door("POST", limit="write")
def edit_comment(request: WireRequest, repokind: str, owner: str, name: str, number: int, key: int) -> HttpResponse:
    """`POST …/comment/{id}/edit` `{content}`."""
    _repo, row = _find(request, repokind, owner, name, number)
    text = text_of(read_json(request), "content")
    edited = conversation.edit(actor=request.actor, comment=_comment(row, key), text=text)
    return JsonResponse({"updatedComment": _event(row, edited)})


@door("POST", limit="write")
def hide_comment(request: WireRequest, repokind: str, owner: str, name: str, number: int, key: int) -> HttpResponse:
    """`POST …/comment/{id}/hide`."""
    _repo, row = _find(request, repokind, owner, name, number)
    hidden = conversation.hide(actor=request.actor, comment=_comment(row, key))
    return JsonResponse({"updatedComment": _event(row, hidden)})


@door("POST", limit="write")
def title(request: WireRequest, repokind: str, owner: str, name: str, number: int) -> HttpResponse:
    """`POST …/{n}/title` `{title}`."""
    _repo, row = _find(request, repokind, owner, name, number)
    row = change_requests.set_title(actor=request.actor, request=row, title=text_of(read_json(request), "title"))
    return JsonResponse({"newTitle": _latest(row, Comment.Kind.TITLE)})


@door("POST", limit="write")
def status(request: WireRequest, repokind: str, owner: str, name: str, number: int) -> HttpResponse:
    """`POST …/{n}/status` `{status, comment?}`."""
    _repo, row = _find(request, repokind, owner, name, number)
    body = read_json(request)
    wanted, text = text_of(body, "status"), text_of(body, "comment")
    if wanted not in (State.OPEN, State.CLOSED, State.DRAFT):
        raise WireError(400, "The status of a change request becomes 'open', 'closed' or 'draft'.")
    row = change_requests.set_state(actor=request.actor, request=row, state=wanted, text=text)
    return JsonResponse({"newStatus": _latest(row, Comment.Kind.STATUS)})


@door("POST", limit="write")
def merge(request: WireRequest, repokind: str, owner: str, name: str, number: int) -> HttpResponse:
    """`POST …/{n}/merge` `{comment?}`. Conflicts are answered by 409 with the paths."""
    _repo, row = _find(request, repokind, owner, name, number)
    body = {} if request.body in (b"", b"null") else read_json(request)
    made = change_requests.merge(actor=request.actor, request=row, text=text_of(body, "comment"))
    return JsonResponse({"commitOid": made.sha})


def _find(request: WireRequest, repokind: str, owner: str, name: str, number: int) -> tuple[Repo, ChangeRequest]:
    repo = find_repo(request, repokind, owner, name)
    row = ChangeRequest.objects.filter(repo=repo, number=number).select_related("author").first()
    if row is None:
        raise WireError(404, f"{repo.full_name} has no change request #{number}.")
    row.repo = repo
    return repo, row


def _comment(row: ChangeRequest, key: int) -> Comment:
    found = row.comments.filter(pk=key, kind=Comment.Kind.COMMENT).select_related("author").first()
    if found is None:
        raise WireError(404, "There is no such comment.")
    found.change_request = row
    return found


def _latest(row: ChangeRequest, kind: str) -> dict[str, Any]:
    """The newest event of a kind; without one (nothing changed) what it would have said."""
    event = row.comments.filter(kind=kind).select_related("author").last()
    if event:
        return _event(row, event)
    now = {"status": _status(row, row.state), "from": row.title, "to": row.title}
    return {"id": "0", "type": kind, "createdAt": when(row.created_at), "author": _author(row), "data": now}


def _item(repo: Repo, row: ChangeRequest) -> dict[str, Any]:
    return {
        "num": row.number,
        "title": row.title,
        "status": _status(row, row.state),
        "author": _author(row),
        "createdAt": when(row.created_at),
        "isPullRequest": not row.talk,
        "repo": {"name": repo.full_name, "type": "dataset" if repo.is_task else "model"},
        "pinned": False,
    }


def _author(row: ChangeRequest | Comment) -> dict[str, str]:
    return {"name": name_of(row.author), "avatarUrl": "", "type": "user"}


def _status(row: ChangeRequest, state: str) -> str:
    """A state as the client knows it: to talk about something is open or closed."""
    return State.OPEN if row.talk and state == State.DRAFT else state


def _event(row: ChangeRequest, event: Comment) -> dict[str, Any]:
    shaped: dict[str, Any] = {
        "id": str(event.pk), "type": event.kind, "createdAt": when(event.created_at), "author": _author(event),
        "data": event.data,
    }  # fmt: skip
    if event.kind == Comment.Kind.STATUS:
        shaped["data"] = event.data | {"status": _status(row, event.data.get("status", ""))}
    if event.kind == Comment.Kind.COMMENT:
        text = "" if event.hidden else event.text
        latest = {
            "raw": text, "html": "", "updatedAt": when(event.edited_at or event.created_at), "author": _author(event),
        }  # fmt: skip
        shaped["data"] = {
            "edited": event.edited_at is not None, "hidden": event.hidden, "latest": latest, "history": [],
        }  # fmt: skip
    return shaped
