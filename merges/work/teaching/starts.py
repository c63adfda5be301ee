"""Which specialists a training may begin from, and which one it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.catalog import local
from hub.accounts.actor import Actor
from hub.jobs.running import JobFailed
from hub.repos.models import Commit, Kind, Repo
from merges.models import Teaching
from merges.work.subjects import BadRequest, Pinned, pin

MOST_CANDIDATES = 6
FILES = ("adapter_config.json", "adapter_model.safetensors", "labels.json")
METHODS = {"lora": ("LoRA", "rsLoRA"), "ia3": ("IA3",)}


def candidates(actor: Actor, row: Teaching, method: str) -> list[Pinned]:
    """Public specialists of the same base and method, the latest first; never the one that is taught."""
    if row.base is None or method not in METHODS:
        return []
    found = (
        Repo.objects.visible_to(actor)
        .filter(kind=Kind.ADAPTER, private=False, facts__base=row.base.full_name, facts__method__in=METHODS[method])
        .exclude(pk=row.repo_id)
        .exclude(head="")
        .select_related("owner")
        .order_by("-updated_at")[:MOST_CANDIDATES]
    )
    heads = {
        made.repo_id: made for made in Commit.objects.filter(repo__in=found, sha__in=[repo.head for repo in found])
    }
    return [Pinned(repo, heads[repo.pk]) for repo in found if repo.pk in heads]


def fetch(item: Pinned, folder: Path) -> Path:
    """An adapter's files as a local folder."""
    local.materialise(item.repo, item.commit, folder, lambda path: path in FILES)
    return folder


def named(row: Teaching, actor: Actor, folder: Path) -> Path | None:
    """The start that was decided, fetched; None for the base. Raises JobFailed when it is no longer there."""
    name = row.start.get("chosen", "base")
    if name == "base":
        return None
    try:
        return fetch(pin(name, actor, kinds=(Kind.ADAPTER,), revision=row.start.get("sha") or None), folder)
    except BadRequest as error:
        raise JobFailed(f"The specialist to begin from is no longer there for you: {error}") from error


def decided(item: Pinned | None, why: str, tried: list[dict[str, Any]]) -> dict[str, Any]:
    """What a row keeps of the decision."""
    return {
        "chosen": item.name if item else "base", "sha": item.commit.sha if item else "", "why": why, "tried": tried,
    }  # fmt: skip
