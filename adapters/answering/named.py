"""Which model is meant by a name: the router over the hub, a System, or one adapter, merge or base."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.answering.composites import Composite, composite_of
from adapters.answering.line import CannotAnswer
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Repo

ROUTER = "router"


@dataclass(frozen=True)
class Single:
    """One model at one commit: an adapter, a merge or a base."""

    repo: Repo
    sha: str


Named = Single | Composite | None
"""None is the router over everything the asker may read."""


def find(name: str, actor: Actor) -> Named:
    """The model called `router`, `owner/name` or `owner/name@revision`. Raises CannotAnswer."""
    if name in ("", ROUTER):
        return None
    plain, _, revision = name.partition("@")
    repos = Repo.objects.models().with_id(plain if plain.count("/") == 1 else "/").visible_to(actor)
    repo = repos.select_related("owner").first()
    if repo is None or not repo.head:
        raise CannotAnswer(f"There is no model '{name[:200]}' that you may read. GET /v1/models lists them.")
    if "\0" in revision or len(revision) > 200:
        raise CannotAnswer(f"{repo.full_name} has no such revision.")
    composite = composite_of(repo, revision or None, actor)
    if composite is not None:
        return composite
    try:
        return Single(repo, trees.resolve_commit(repo, revision or None).sha)
    except trees.RevisionNotFound as error:
        raise CannotAnswer(str(error)) from error
