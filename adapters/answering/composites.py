"""What a higher room tells of models that are made of several specialists (Systems): members, pinned, and a router."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hub.accounts.actor import Actor
from hub.repos.models import Repo


@dataclass(frozen=True)
class Part:
    """One member at its commit, and the task whose train texts the router knows it by, at its commit."""

    repo: Repo
    sha: str
    task: Repo
    task_sha: str


@dataclass(frozen=True)
class Composite:
    """A model made of members; only those that the asker may read, with their tasks, are in `parts`."""

    repo: Repo
    sha: str
    version: str
    router: str
    parameters: Mapping[str, float]
    parts: tuple[Part, ...]


Resolver = Callable[[Repo, str | None, Actor], Composite]
"""(repo, revision or None, actor) → what it is made of. Raises CannotAnswer."""
_resolvers: dict[str, Resolver] = {}


def register_composite(kind: str, resolver: Resolver) -> None:
    """Say how repos of a kind are taken apart."""
    _resolvers[kind] = resolver


def composite_of(repo: Repo, revision: str | None, actor: Actor) -> Composite | None:
    """What a repo is made of, None for one that is a single model. Raises CannotAnswer."""
    resolver: Any = _resolvers.get(repo.kind)
    return None if resolver is None else resolver(repo, revision, actor)
