"""A repo's files as the beginning of another repo. Bytes are shared, history is not."""

from __future__ import annotations

from collections.abc import Collection

from django.conf import settings
from django.db import transaction

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.record import record
from hub.repos import commits, lifecycle, trees
from hub.repos.changes import Change, Inline, Put, Stored
from hub.repos.models import GitObject, Repo
from hub.rights import Verb
from hub.store.models import BlobState


def duplicate(*, actor: Actor, source: Repo, owner: Account, name: str, private: bool | None = None) -> Repo:
    """Make `owner/name` with the files that the source's main branch has now; all or nothing.

    Unless asked otherwise, a copy of a private or gated repo is private (a copy has no gate, so a public one would let
    everybody in), and others follow the new owner's habit.
    Raises as `lifecycle.create_repo` and `commits.commit`.
    """
    rights.require(actor, Verb.READ, source)
    if private is None and (source.private or source.gated):
        private = True
    with transaction.atomic():
        copy = lifecycle.create_repo(actor=actor, owner=owner, name=name, kind=source.kind, private=private)
        if source.description:
            lifecycle.describe(actor=actor, repo=copy, description=source.description)
        if source.head:
            _fill(actor, source, copy)
        record(actor.account, "duplicate_repo", repo=copy, source=source.full_name, sha=source.head)
    return copy


def lend(*, actor: Actor, source: Repo, target: Repo, files: Collection[str]) -> list[str]:
    """May the actor commit these large files (by sha256) of one repo to another? Returns those that the source lacks.

    Bytes are stored once for the whole hub, so that nothing is copied; the commit that follows asks for them again.
    Raises Denied.
    """
    rights.require(actor, Verb.READ, source)
    rights.require(actor, Verb.PROPOSE, target)
    rows = GitObject.objects.filter(repo=source, large_id__in=set(files), large__state=BlobState.PRESENT)
    here = set(rows.values_list("large_id", flat=True))
    return [sha256 for sha256 in files if sha256 not in here]


def _fill(actor: Actor, source: Repo, copy: Repo) -> None:
    head = trees.resolve_commit(source)
    files = list(trees.list_files(source, head).values())
    puts: list[Change] = [
        Put(file.path, Stored(file.blob) if file.blob is not None else Inline(file.data)) for file in files
    ]
    size = int(settings.LIMITS["commit_files"])
    for start in range(0, len(puts), size):
        commits.commit(
            actor=actor,
            repo=copy,
            changes_=puts[start : start + size],
            message=f"Duplicate of {source.full_name} at {head.short}"
            + (f" (part {start // size + 1})" if start else ""),
        )
