"""A System's generalist: a merge recipe that runs again over the members of each release, and is judged beside it.

Imported by web processes: no torch here. The judging itself is in `generalist_run`.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from hub.accounts.actor import Actor, actor_for
from hub.accounts.models import Account, MemberRole, Membership
from hub.jobs.queue import enqueue
from hub.repos.lifecycle import Exists
from hub.repos.models import Repo
from hub.rights import Denied
from merges.models import Merge, Release
from merges.recipes import RecipeError
from merges.work.merging import ask_for_merge, look_at
from merges.work.subjects import BadRequest

FEWEST = 2
"""Members of a System before there is anything to merge."""


def merge_anew(release: Release) -> None:
    """Ask for the merge of a release's members; what speaks against it stands with the release. Never raises for it."""
    wanted = release.manifest.get("generalist")
    inputs = inputs_of(release.manifest)
    owner = _owner(release)
    if not wanted or owner is None:
        return
    if len(inputs) < FEWEST:
        _note(release, {"error": f"There is nothing to merge before the System has {FEWEST} specialists."})
        return
    try:
        check_target(release.system, wanted["target"])
        with transaction.atomic():
            merge = ask_for_merge(
                actor=actor_for(owner), raw=dict(wanted["recipe"]) | {"inputs": inputs}, target=wanted["target"]
            )
            release.generalist = merge
            release.save(update_fields=["generalist"])
            _note(release, {})
    except (RecipeError, BadRequest, Denied, ValidationError, Exists) as error:
        _note(release, {"error": _words(error)})


def check_target(system: Repo, target: str, actor: Actor | None = None) -> None:
    """Raise BadRequest unless the merge goes to a repo of the System's owner that holds nothing else."""
    owner, _, _name = target.partition("/")
    if owner.lower() != system.owner.name.lower():
        raise BadRequest(f"The generalist belongs to who owns the System: its target is {system.owner.name}/a-name.")
    known = Repo.objects.with_id(target).models()
    repo = (known.visible_to(actor) if actor else known).first()  # a proposer learns nothing of what is hidden
    if repo and repo.head and not Release.objects.filter(system=system, generalist__repo=repo).exists():
        raise BadRequest(f"{target} holds something else already. Choose a new name for the generalist.")


def check(actor: Actor, system: Repo, wanted: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Raise RecipeError or BadRequest for a target or a recipe that cannot be meant."""
    check_target(system, wanted["target"], actor)
    inputs = inputs_of(manifest)
    if len(inputs) >= FEWEST:
        _recipe, _pinned, problems = look_at(actor, dict(wanted["recipe"]) | {"inputs": inputs})
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            raise RecipeError(errors)


def inputs_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """A manifest's members as the inputs of a recipe."""
    members = manifest.get("members", [])
    return [{"adapter": one["adapter"]["repo"], "revision": one["adapter"]["sha"]} for one in members]


def on_merged(merge: Merge) -> None:
    """A merge was published: if a release waits for it, its judging is queued, in the same transaction."""
    for release in merge.releases.select_related("system__owner", "created_by"):
        enqueue(
            "merges.generalist",
            title=f"Evaluate the generalist of {release.system.full_name} v{release.number}",
            arguments={"release": release.pk},
            owner=_owner(release),
            repo=release.system,
            key=f"generalist:{release.pk}:{merge.pk}",
        )


def _owner(release: Release) -> Account | None:
    """In whose name the merge is made: the System's owner, or an administrator of the organisation that owns it."""
    owner = release.system.owner
    if not owner.is_organisation:
        return owner
    admins = Membership.objects.filter(organisation=owner, role=MemberRole.ADMIN, member__is_active=True)
    first = admins.select_related("member").order_by("pk").first()
    return first.member if first else None


def _note(release: Release, note: dict[str, Any]) -> None:
    release.scores = {**release.scores, "generalist": note}
    release.save(update_fields=["scores"])


def _words(error: Exception) -> str:
    return " ".join(error.messages)[:500] if isinstance(error, ValidationError) else str(error)[:500]
