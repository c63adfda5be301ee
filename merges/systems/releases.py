"""The life of a System: made, a specialist proposed, a release evaluated, released or held, rolled back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from adapters.models import Lineage, Relation
from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.notices import tell
from hub.activity.record import record
from hub.jobs.queue import enqueue
from hub.repos import lifecycle, trees
from hub.repos.changes import Inline, Put
from hub.repos.commits import commit
from hub.repos.models import Commit, Kind, Ref, Repo
from hub.review import change_requests
from hub.review.models import ChangeRequest
from hub.rights import Denied, Verb
from merges.models import RELEASE_MOVES, Release, ReleaseState
from merges.systems import generalist
from merges.systems.manifest import NAME, BadManifest, Manifest, Member, Pin, changes, parse
from merges.work.subjects import BadRequest, base_of, pin

CARD = """---
type: system
base_model: {base}
---

# {name}

A System: one base, specialists that were accepted for it, and a router that picks one for each input.
"""


class NotReleasable(Exception):
    """The release is in a state that does not allow this."""


def create_system(
    *, actor: Actor, owner: Account, name: str, base: str, router: str = "best_five", description: str = "",
    private: bool | None = None,
) -> Repo:  # fmt: skip
    """A System without members yet. Raises Denied, BadRequest (no such base), Exists, ValidationError."""
    pinned = pin(base, actor, kinds=(Kind.BASE,))
    repo = lifecycle.create_repo(actor=actor, owner=owner, name=name, kind=Kind.SYSTEM, private=private)
    if description:
        lifecycle.describe(actor=actor, repo=repo, description=description)
    manifest = Manifest(Pin(pinned.name, pinned.commit.sha), router=router)
    card = CARD.format(base=pinned.name, name=repo.name).encode()
    commit(
        actor=actor, repo=repo, message=f"Begin the System {repo.name}",
        changes_=[Put(NAME, Inline(manifest.to_bytes())), Put("README.md", Inline(card))],
    )  # fmt: skip
    return repo


def manifest_at(repo: Repo, at: Commit | None) -> Manifest:
    """The manifest of a commit. Raises BadManifest if there is none or it is broken."""
    if at is None:
        raise BadManifest("The System has no commit yet.")
    try:
        return parse(trees.get_file(repo, at, NAME).read())
    except trees.EntryNotFound as error:
        raise BadManifest(f"The System has no {NAME}.") from error


def propose_member(
    *, actor: Actor, system: Repo, adapter: str, task: str = "", revision: str | None = None, text: str = ""
) -> ChangeRequest:
    """Open a change request that adds an adapter (or a newer revision of one) to a System.

    Without `task` the one its card says it was taught on. Raises BadRequest, BadManifest, Denied.
    """
    subject = pin(adapter, actor, kinds=(Kind.ADAPTER,), revision=revision)
    if subject.repo.private and not system.private:
        raise BadRequest(f"{subject.name} is private; a public System takes public adapters.")
    manifest = manifest_at(system, Commit.objects.filter(repo=system, sha=system.head).first())
    base = base_of(subject, actor)
    if base.name.lower() != manifest.base.repo.lower():
        raise BadRequest(f"{subject.name} was made for {base.name}, but this System is built on {manifest.base.repo}.")
    on = pin(task or _taught_on(subject.repo, subject.commit.sha), actor, kinds=(Kind.TASK,))
    member = Member(Pin(subject.name, subject.commit.sha), Pin(on.name, on.commit.sha))
    changed = manifest.with_member(member)
    return _propose(actor, system, changed, f"Take {subject.name} for {on.name}", text)


def propose_removal(*, actor: Actor, system: Repo, adapter: str, text: str = "") -> ChangeRequest:
    """Open a change request that removes a member. Raises BadManifest, Denied."""
    manifest = manifest_at(system, Commit.objects.filter(repo=system, sha=system.head).first())
    return _propose(actor, system, manifest.without(adapter), f"Remove {adapter}", text)


def propose_generalist(
    *, actor: Actor, system: Repo, recipe: Mapping[str, Any] | None, target: str = "", text: str = ""
) -> ChangeRequest:
    """Open a change request that attaches a merge recipe (without inputs), or takes the attached one away.

    At each release the members are merged by it into `target`, and the result is judged on the System's tasks.
    Raises BadManifest, BadRequest, RecipeError, Denied.
    """
    manifest = manifest_at(system, Commit.objects.filter(repo=system, sha=system.head).first())
    if recipe is None:
        return _propose(actor, system, replace(manifest, generalist=None), "Keep no generalist", text)
    wanted = {"recipe": dict(recipe), "target": target.strip()}
    changed = parse(replace(manifest, generalist=wanted).to_bytes())
    generalist.check(actor, system, wanted, changed.to_dict())
    title = f"Keep a generalist in {wanted['target']}, merged by {recipe.get('merge_method', '?')}"[:200]
    return _propose(actor, system, changed, title, text)


def _propose(actor: Actor, system: Repo, manifest: Manifest, title: str, text: str) -> ChangeRequest:
    data = manifest.to_bytes()
    if data == trees.get_file(system, trees.resolve_commit(system), NAME).read():
        raise BadRequest("The System has exactly this revision already.")
    request, _commit = change_requests.propose(
        actor=actor, repo=system, changes_=[Put(NAME, Inline(data))], title=title, description=text
    )
    return request


def _taught_on(repo: Repo, sha: str) -> str:
    line = Lineage.objects.filter(child=repo, child_sha=sha, relation=Relation.TAUGHT_ON).select_related(
        "parent__owner"
    )
    found = line.first()
    if found is None:
        raise BadRequest(f"The card of {repo.full_name} names no task that this hub has: say which task it is for.")
    return found.parent.full_name


def on_commit(repo: Repo, at: Commit, ref: Ref) -> None:
    """A commit arrived on a System's main branch: it is a release candidate, evaluated by a job."""
    if repo.kind != Kind.SYSTEM or ref.name != "refs/heads/main":
        return
    try:
        manifest = manifest_at(repo, at)
    except BadManifest:
        return  # the check of the proposal says so; a broken manifest is never released
    if Release.objects.filter(system=repo, sha=at.sha).exists():
        return
    latest = Release.objects.filter(system=repo).order_by("-number").first()
    before = parse(latest.manifest) if latest else None
    number = (Release.objects.filter(system=repo).aggregate(n=Max("number"))["n"] or 0) + 1
    release = Release.objects.create(
        system=repo, number=number, sha=at.sha, manifest=manifest.to_dict(), created_by=at.author,
        changelog="\n".join([at.title, *(f"* {line}" for line in changes(before, manifest))])[:20_000],
    )  # fmt: skip
    evaluate(release, at.author)


def evaluate(release: Release, owner: Account | None) -> None:
    """Queue the evaluation of a candidate."""
    release.job = enqueue(
        "merges.release",
        title=f"Evaluate {release.system.full_name} v{release.number}",
        arguments={"release": release.pk},
        owner=owner,
        repo=release.system,
    )
    release.save(update_fields=["job"])


def current(system: Repo) -> Release | None:
    """The release in use: the one released last."""
    rows = Release.objects.filter(system=system, state=ReleaseState.RELEASED)
    return rows.order_by("-released_at", "-number").first()


def move(release: Release, state: str, **fields: Any) -> Release:
    """Change a release's state by the table of moves. Raises NotReleasable."""
    with transaction.atomic():
        row = Release.objects.select_for_update(of=("self",)).select_related("system__owner").get(pk=release.pk)
        if state not in RELEASE_MOVES[row.state]:
            raise NotReleasable(f"A release that is {row.state} cannot become {state}.")
        row.state = state
        for name, value in fields.items():
            setattr(row, name, value)
        if state == ReleaseState.RELEASED:
            row.released_at = timezone.now()
        row.save()
        if state == ReleaseState.RELEASED:
            _announce(row)
            generalist.merge_anew(row)
    return row


def _announce(release: Release) -> None:
    """Tag the commit, remember the event, tell whose work is in it."""
    system = release.system
    Ref.objects.get_or_create(repo=system, name=f"refs/tags/v{release.number}", defaults={"target": release.sha})
    record(release.created_by, "release", repo=system, version=release.number, score=release.score)
    names = [one["adapter"]["repo"] for one in release.manifest.get("members", [])]
    owners = Account.objects.people().filter(repos__in=_repos_named(names)).distinct()
    readers = [person for person in owners if rights.can(Actor(person), Verb.READ, system)]
    text = f"{system.full_name} v{release.number}, which uses your work, was released"
    tell(readers, "release", text, system.get_absolute_url(), actor=release.created_by, repo=system)


def _repos_named(names: list[str]) -> Any:
    from django.db.models import Q

    wanted = Q(pk__in=[])
    for name in names:
        owner, _, repo = name.partition("/")
        wanted |= Q(owner__name__iexact=owner, name__iexact=repo)
    return Repo.objects.filter(wanted, kind=Kind.ADAPTER)


def release_anyway(*, actor: Actor, release: Release, reason: str) -> Release:
    """Release what was held back, by who may administer the System. Raises Denied, NotReleasable, BadRequest."""
    rights.require(actor, Verb.ADMIN, release.system)
    if not reason.strip():
        raise BadRequest("Say why it is released although it was held.")
    changed = f"{release.changelog}\n\nReleased by {actor.account} although held: {reason.strip()}"[:20_000]
    return move(release, ReleaseState.RELEASED, changelog=changed)


def roll_back(*, actor: Actor, release: Release) -> Release:
    """Make an earlier release the current one again: its manifest is committed anew and released at once, with the
    scores it had. Raises Denied, NotReleasable."""
    system = release.system
    rights.require(actor, Verb.ADMIN, system)
    if release.state != ReleaseState.RELEASED:
        raise NotReleasable(f"v{release.number} was never released.")
    now = current(system)
    if now is not None and now.pk == release.pk:
        raise NotReleasable(f"v{release.number} is the current release already.")
    if actor.account is None:
        raise Denied("Sign in first.")
    with transaction.atomic():
        manifest = parse(release.manifest)
        made = commit(
            actor=actor, repo=system, changes_=[Put(NAME, Inline(manifest.to_bytes()))],
            message=f"Roll back to v{release.number}",
        )  # fmt: skip
        fresh = Release.objects.filter(system=system, sha=made.sha).first()
        if fresh is None or fresh.state == ReleaseState.RELEASED:
            raise NotReleasable("The main branch has this manifest already; wait for its release.")
        if fresh.job is not None:
            fresh.job.delete()
        Release.objects.filter(pk=fresh.pk).update(
            state=ReleaseState.EVALUATING, job=None, rolls_back_to=release, scores=release.scores,
            score=release.score, standard_error=release.standard_error,
        )  # fmt: skip
        return move(fresh, ReleaseState.RELEASED)
