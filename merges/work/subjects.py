"""From names to repos and commits, with the rights of whoever asks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from adapters.catalog import bases
from adapters.models import Inspection
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Commit, Kind, Repo


class BadRequest(ValueError):
    """What was asked for cannot be done; the message says why and what to do."""


@dataclass(frozen=True)
class Pinned:
    """A repo at one commit."""

    repo: Repo
    commit: Commit

    @property
    def name(self) -> str:
        return self.repo.full_name


def pin(name: str, actor: Actor, *, kinds: tuple[str, ...], revision: str | None = None) -> Pinned:
    """The repo `owner/name` at a revision. Raises BadRequest if it is absent, invisible, of another kind or empty."""
    repo = (
        Repo.objects.with_id(name).filter(kind__in=kinds).visible_to(actor).select_related("owner").first()
        if name.count("/") == 1
        else None
    )
    what = " or ".join(kinds)
    if repo is None:
        raise BadRequest(f"There is no {what} '{name[:200]}' that you may read.")
    try:
        return Pinned(repo, trees.resolve_commit(repo, revision))
    except trees.RevisionNotFound as error:
        raise BadRequest(str(error)) from error


def facts_of(pinned: Pinned) -> dict[str, object] | None:
    """What was measured of it, None while its inspection waits."""
    row = Inspection.objects.filter(repo=pinned.repo, sha=pinned.commit.sha).first()
    return row.facts if row else None


def base_of(pinned: Pinned, actor: Actor) -> Pinned:
    """The base an adapter was made for (or the base itself). Raises BadRequest if this hub does not have it."""
    if pinned.repo.kind == Kind.BASE:
        return pinned
    facts = facts_of(pinned) or {}
    name = str(facts.get("base") or facts.get("base_model") or "")
    base = bases.find_base(name, actor)
    head = bases.head_of(base) if base else None
    if base is None or head is None:
        raise BadRequest(
            f"{pinned.name} was made for the base '{name or 'unknown'}', which this hub does not have. "
            "Publish that base here under the same name first."
        )
    return Pinned(base, head)


def merge_facts(pinned: Pinned) -> dict[str, object] | None:
    """What the linter of recipes is told: the measured facts, and which statistics are published beside the weights."""
    facts = facts_of(pinned)
    if facts is None:
        return None
    paths = trees.flatten(pinned.repo, pinned.commit.tree)
    kinds = [path.split("/")[1].removesuffix(".safetensors") for path in paths if path.startswith("statistics/")]
    return facts | {"statistics": sorted(kinds)}


def weights_sha256(pinned: Pinned) -> str:
    """One hash over the hashes of a checkpoint's safetensors files, as the store knows them."""
    files = trees.list_files(pinned.repo, pinned.commit)
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.endswith(".safetensors")):
        file = files[path]
        digest.update(bytes.fromhex(file.blob.sha256) if file.blob else hashlib.sha256(file.data).digest())
    return digest.hexdigest()
