"""Revisions as people write them: `[tasks/]owner/name[@revision]`."""

from __future__ import annotations

from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Commit, Repo


class NotFound(Exception):
    """There is no such repo, or the asker may not read it; the two look alike."""


def revision_named(actor: Actor, text: str) -> tuple[Repo, Commit]:
    """The repo and commit of `[tasks/]owner/name[@revision]`. Raises NotFound, RevisionNotFound."""
    name, _, revision = text.partition("@")
    task, name = name.startswith("tasks/"), name.removeprefix("tasks/")
    repos = Repo.objects.with_id(name).visible_to(actor).select_related("owner")
    repo = (repos.tasks() if task else repos.models()).first() if name.count("/") == 1 and "\x00" not in text else None
    if repo is None:
        raise NotFound(f"There is no repo '{text[:200]}' that you may read; write owner/name@revision.")
    return repo, trees.resolve_commit(repo, revision or None)
