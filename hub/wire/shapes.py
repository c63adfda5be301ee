"""JSON shapes that several routes share, under the names the client expects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from hub.accounts.models import Account
from hub.repos import gitformat
from hub.repos.models import Commit, Repo, Standing
from hub.repos.trees import Listed

LIST_FIELDS = (
    "id _id modelId author sha lastModified createdAt private gated disabled downloads likes tags library_name "
    "pipeline_tag trendingScore"
).split()


def when(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def listed_file(file: Listed) -> dict[str, Any]:
    """A file in a tree listing."""
    row: dict[str, Any] = {"type": "file", "path": file.path, "size": file.size, "oid": file.sha}
    if file.sha256:
        row["lfs"] = lfs_info(file)
    if file.xet and settings.XET:
        row["xetHash"] = file.xet
    return row


def lfs_info(file: Listed) -> dict[str, Any]:
    """The `lfs` part of a large file."""
    assert file.sha256
    pointer_size = len(gitformat.pointer(file.sha256, file.size))
    return {"oid": file.sha256, "size": file.size, "pointerSize": pointer_size}


def listed_folder(path: str, sha: str) -> dict[str, Any]:
    """A folder in a tree listing."""
    return {"type": "directory", "path": path, "oid": sha, "size": 0}


def sibling(file: Listed, *, blobs: bool) -> dict[str, Any]:
    """A file in a repo's info; with `blobs` its size and hashes."""
    row: dict[str, Any] = {"rfilename": file.path}
    if blobs:
        row |= {"size": file.size, "blobId": file.sha}
        if file.sha256:
            info = lfs_info(file)
            row["lfs"] = {"sha256": info["oid"], "size": info["size"], "pointerSize": info["pointerSize"]}
    return row


def repo_info(repo: Repo, sha: str, card: dict[str, Any]) -> dict[str, Any]:
    """What a repo is, without its files. The sha of an empty repo is git's null: clients pin what they load to one."""
    info = {
        "_id": repo.pk.hex[:24],
        "id": repo.full_name,
        "author": repo.owner.name,
        "sha": sha,
        "lastModified": when(repo.updated_at),
        "createdAt": when(repo.created_at),
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": repo.standing != Standing.GOOD,
        "downloads": repo.downloads,
        "downloadsAllTime": repo.downloads,
        "likes": repo.likes,
        "tags": repo.tags,
        "description": repo.description or None,
        "trendingScore": repo.likes,
        "cardData": card,
    }
    if not repo.is_task:
        info |= _model_fields(repo, card)
    return info


def _model_fields(repo: Repo, card: dict[str, Any]) -> dict[str, Any]:
    library = card.get("library_name") or ("peft" if "peft" in repo.tags else None)
    pipeline = card.get("pipeline_tag")
    return {
        "modelId": repo.full_name,
        "library_name": library if isinstance(library, str) else None,
        "pipeline_tag": pipeline if isinstance(pipeline, str) else None,
        "spaces": [],
        "config": _config(repo),
        "model-index": card.get("model-index"),
        "widgetData": card.get("widget"),
        "baseModels": base_models(repo),
    }


def _config(repo: Repo) -> dict[str, Any]:
    """What was measured of a model's configuration, under the names of the files it came from."""
    facts = repo.facts
    config: dict[str, Any] = {"model_type": facts["model_type"]} if facts.get("model_type") else {}
    if facts.get("peft_type"):
        peft = {
            "base_model_name_or_path": facts.get("base") or facts.get("base_model"),
            "task_type": facts.get("task_type"),
        }
        config["peft"] = peft | {"peft_type": facts["peft_type"]}
    return config


def base_models(repo: Repo) -> dict[str, Any] | None:
    """How a model relates to its bases, read from its tags `base_model:{relation}:{id}`."""
    found = [tag.removeprefix("base_model:").split(":", 1) for tag in repo.tags if tag.startswith("base_model:")]
    related = [(parts[0], parts[1]) for parts in found if len(parts) == 2]
    if not related:
        return None
    return {"relation": related[0][0], "models": [{"id": name} for _relation, name in related]}


def commit_row(commit: Commit) -> dict[str, Any]:
    """A commit in a log."""
    return {
        "id": commit.sha,
        "title": commit.title,
        "message": commit.message,
        "date": when(commit.created_at),
        "authors": [{"user": name_of(commit.author), "avatar": ""}],
    }


def name_of(account: Account | None) -> str:
    """The name, also of an account that is gone."""
    return account.name if account else "deleted"
