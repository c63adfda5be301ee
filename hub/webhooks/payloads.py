"""What is sent: the shape that `huggingface_hub`'s own receiver reads."""

from __future__ import annotations

from typing import Any

from hub.accounts.models import Account
from hub.pages.middleware import public_url
from hub.repos.models import ZERO_SHA, Repo
from hub.review.models import ChangeRequest, Comment, State
from hub.webhooks.models import Webhook


def payload(webhook: Webhook, repo: Repo, arguments: dict[str, Any]) -> dict[str, Any]:
    """The body of one delivery, with the repo as it is now."""
    action, scope, data = arguments["action"], arguments["scope"], arguments["data"]
    body: dict[str, Any] = {
        "event": {"action": action, "scope": scope},
        "repo": _repo(repo),
        "webhook": {"id": webhook.key, "version": 3},
    }
    if scope == "repo.content":
        gone = data.get("sha") is None
        body["updatedRefs"] = [{"ref": data.get("ref", ""), "newSha": None if gone else data["sha"]}]
    if action == "move":
        owner = {"id": str(repo.owner_id)}
        body["movedTo"] = {"name": repo.full_name, "owner": owner}
    if scope.startswith("discussion"):
        body |= _discussion(repo, data)
    return body


def _repo(repo: Repo) -> dict[str, Any]:
    kind = "dataset" if repo.is_task else "model"
    return {
        "type": kind,
        "name": repo.full_name,
        "id": repo.pk.hex[:24],
        "private": repo.private,
        "headSha": repo.head or ZERO_SHA,
        "head_sha": repo.head or ZERO_SHA,
        "tags": repo.tags,
        "owner": {"id": str(repo.owner_id)},
        "url": {
            "web": public_url(repo.get_absolute_url()),
            "api": public_url(f"/api/{kind}s/{repo.full_name}"),
        },
    }


def _discussion(repo: Repo, data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    comment = Comment.objects.select_related("author").filter(pk=data["comment"]).first() if "comment" in data else None
    rows = ChangeRequest.objects.filter(repo=repo).select_related("author")
    row = comment.change_request if comment else rows.filter(number=data.get("number", 0)).first()
    if row is None:
        return found
    if comment is None and "comment" not in data:
        comment = row.comments.filter(kind=Comment.Kind.COMMENT).select_related("author").last()
    address = {
        "web": public_url(row.get_absolute_url()),
        "api": public_url(f"/api{_api(repo)}/discussions/{row.number}"),
    }
    found["discussion"] = {
        "id": str(row.pk),
        "num": row.number,
        "title": row.title,
        "status": State.OPEN if row.talk and row.state == State.DRAFT else row.state,
        "isPullRequest": not row.talk,
        "author": _id(row.author),
        "changes": {"base": row.target} | ({"mergeCommitId": row.merged_as} if row.merged_as else {}),
        "url": address,
    }
    if comment is not None:
        found["comment"] = {
            "id": str(comment.pk),
            "author": _id(comment.author),
            "hidden": comment.hidden,
            "content": None if comment.hidden else comment.text,
            "url": address,
        }
    return found


def _api(repo: Repo) -> str:
    return f"/{'datasets' if repo.is_task else 'models'}/{repo.full_name}"


def _id(account: Account | None) -> dict[str, str]:
    return {"id": str(account.pk) if account else "0"}
