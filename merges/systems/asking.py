"""A System as a model that can be asked: its members at their pins, for adapters.answering."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q

from adapters.answering.composites import Composite, Part
from adapters.answering.line import CannotAnswer
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Kind, Repo
from merges.systems import releases
from merges.systems.manifest import BadManifest, Manifest, parse


def composite(repo: Repo, revision: str | None, actor: Actor) -> Composite:
    """The release in use, or the manifest at a revision; without members that the actor may not read.

    Raises CannotAnswer.
    """
    try:
        if revision:
            commit = trees.resolve_commit(repo, revision)
            version, sha, manifest = revision, commit.sha, releases.manifest_at(repo, commit)
        else:
            release = releases.current(repo)
            if release is None:
                raise CannotAnswer(
                    f"{repo.full_name} has no release yet. Ask for '{repo.full_name}@main' to try what is proposed."
                )
            version, sha, manifest = f"v{release.number}", release.sha, parse(release.manifest)
    except (trees.RevisionNotFound, BadManifest) as error:
        raise CannotAnswer(str(error)) from error
    return Composite(repo, sha, version, manifest.router, manifest.parameters, _parts(manifest, actor))


def _parts(manifest: Manifest, actor: Actor) -> tuple[Part, ...]:
    adapters = _readable((one.adapter.repo for one in manifest.members), Kind.ADAPTER, actor)
    tasks = _readable((one.task.repo for one in manifest.members), Kind.TASK, actor)
    found = []
    for one in manifest.members:
        adapter, task = adapters.get(one.adapter.repo.lower()), tasks.get(one.task.repo.lower())
        if adapter is not None and task is not None:
            found.append(Part(adapter, one.adapter.sha, task, one.task.sha))
    return tuple(found)


def _readable(names: Iterable[str], kind: str, actor: Actor) -> dict[str, Any]:
    wanted = Q(pk__in=[])
    for name in set(names):
        owner, _, repo = name.partition("/")
        wanted |= Q(owner__name__iexact=owner, name__iexact=repo)
    rows = Repo.objects.filter(wanted, kind=kind).visible_to(actor).select_related("owner")
    return {row.full_name.lower(): row for row in rows}
