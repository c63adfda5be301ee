"""Making, changing and removing repos, branches and tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from django.db import IntegrityError, transaction
from django.db.models import F

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.accounts.names import check_name
from hub.activity.record import record
from hub.repos import trees
from hub.repos.commits import BadChange, full_ref
from hub.repos.models import DEFAULT_BRANCH, Commit, FormerName, Kind, Like, Ref, Repo
from hub.rights import Denied, Verb

_REF_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


class Exists(Exception):
    """There is one of that name already; `repo` is set if it is a repo the caller may see."""

    def __init__(self, message: str, repo: Repo | None = None) -> None:
        super().__init__(message)
        self.repo = repo


def create_repo(
    *, actor: Actor, owner: Account, name: str, kind: str = Kind.ADAPTER, private: bool | None = None
) -> Repo:
    """Make an empty repo. Raises Denied, ValidationError (name), Exists."""
    if not rights.can_act_for(actor, owner):
        raise Denied(f"You may not create repos for {owner.name}.")
    check_name(name)
    repo = Repo(owner=owner, name=name, kind=kind, private=owner.default_private if private is None else private)
    if not actor.reaches(repo.full_name):
        raise Denied("This token is limited to other repos.")
    try:
        with transaction.atomic():
            repo.save()
            record(actor.account, "create_repo", repo=repo, kind=kind)
    except IntegrityError as error:
        same = Repo.objects.with_id(repo.full_name)
        found = (same.tasks() if kind == Kind.TASK else same.models()).visible_to(actor).first()
        raise Exists(f"{repo.full_name} exists already.", found) from error
    return repo


def set_private(*, actor: Actor, repo: Repo, private: bool) -> None:
    """Show or hide a repo. Raises Denied."""
    rights.require(actor, Verb.ADMIN, repo)
    with transaction.atomic():
        Repo.objects.filter(pk=repo.pk).update(private=private)
        record(actor.account, "set_private" if private else "set_public", repo=repo)
    repo.private = private


def describe(*, actor: Actor, repo: Repo, description: str) -> None:
    """Set the one-line description. Raises Denied."""
    rights.require(actor, Verb.ADMIN, repo)
    with transaction.atomic():
        Repo.objects.filter(pk=repo.pk).update(description=description[:300])
        record(actor.account, "describe", repo=repo)
    repo.description = description[:300]


def move_repo(*, actor: Actor, repo: Repo, owner: Account, name: str) -> None:
    """Give a repo another name or owner; the old id leads to it. Needs administering it and creating for the new owner.

    Raises Denied, ValidationError (name), Exists.
    """
    rights.require(actor, Verb.ADMIN, repo)
    if not rights.can_act_for(actor, owner):
        raise Denied(f"You may not create repos for {owner.name}.")
    if not actor.reaches(f"{owner.name}/{name}"):
        raise Denied("This token is limited to other repos.")
    check_name(name)
    before = repo.full_name
    try:
        with transaction.atomic():
            Repo.objects.filter(pk=repo.pk).update(owner=owner, name=name)
            if before.lower() != f"{owner.name}/{name}".lower():
                FormerName.objects.update_or_create(
                    full_name=before.lower(), task=repo.is_task, defaults={"repo": repo}
                )
            record(actor.account, "move_repo", repo=repo, before=before, after=f"{owner.name}/{name}")
    except IntegrityError as error:
        raise Exists(f"{owner.name}/{name} exists already.") from error
    repo.owner, repo.name = owner, name


def moved_to(actor: Actor, repo_id: str, *, task: bool) -> Repo | None:
    """Where the repo that once had this id is now, if the actor may read it. Ask only when no repo has the id."""
    name = FormerName.objects.filter(full_name=repo_id.lower()[:200], task=task).first()
    return Repo.objects.visible_to(actor).select_related("owner").filter(pk=name.repo_id).first() if name else None


def delete_repo(*, actor: Actor, repo: Repo) -> None:
    """Remove a repo with its history; its blobs go when nothing else refers to them. Raises Denied."""
    rights.require(actor, Verb.ADMIN, repo)
    while True:
        with suppress(_NewJob), transaction.atomic():
            # A job that writes about this repo finishes first or finds it gone; it never meets it half-deleted.
            # Jobs hold their own row while they write, so rows of jobs are locked before the repo, as they do.
            held = list(repo.jobs.select_for_update().values_list("pk", flat=True))
            locked = Repo.objects.select_for_update(of=("self",)).filter(pk=repo.pk).first()
            if locked is None:
                return
            if locked.jobs.exclude(pk__in=held).exists():
                raise _NewJob
            record(actor.account, "delete_repo", name=repo.full_name)
            locked.delete()
            return


class _NewJob(Exception):
    """A job came between the two locks: it may hold its row and wait for the repo, so both are let go once more."""


def create_branch(*, actor: Actor, repo: Repo, name: str, start: str | None = None) -> Ref:
    """Make a branch at a revision. Raises Denied, BadChange (name), Exists, RevisionNotFound."""
    return _create_ref(actor, repo, full_ref(check_ref_name(name)), start)


def create_tag(*, actor: Actor, repo: Repo, name: str, revision: str | None = None) -> Ref:
    """Make a tag at a revision. Raises as `create_branch`."""
    return _create_ref(actor, repo, f"refs/tags/{check_ref_name(name)}", revision)


def delete_branch(*, actor: Actor, repo: Repo, name: str) -> None:
    """Remove a branch by its short name, never the main one. Raises Denied, BadChange (name), RevisionNotFound."""
    if name == DEFAULT_BRANCH:
        raise BadChange("The main branch cannot be removed.")
    _delete_ref(actor, repo, full_ref(check_ref_name(name)))


def delete_tag(*, actor: Actor, repo: Repo, name: str) -> None:
    """Remove a tag by its short name. Raises Denied, BadChange (name), RevisionNotFound."""
    _delete_ref(actor, repo, f"refs/tags/{check_ref_name(name)}")


def set_like(*, actor: Actor, repo: Repo, liked: bool) -> None:
    """Mark or unmark a repo. Raises Denied for nobody and for read tokens."""
    rights.require(actor, Verb.PROPOSE, repo)
    assert actor.account is not None
    with transaction.atomic():
        if liked:
            _row, changed = Like.objects.get_or_create(repo=repo, account=actor.account)
        else:
            changed = bool(Like.objects.filter(repo=repo, account=actor.account).delete()[0])
        if changed:
            Repo.objects.filter(pk=repo.pk).update(likes=F("likes") + (1 if liked else -1))


def write_facts(repo: Repo, commit: Commit, facts: dict[str, object], tags: Sequence[str]) -> None:
    """What a higher room learnt of a commit. It shows on the repo only while that commit is the head."""
    Repo.objects.filter(pk=repo.pk, head=commit.sha).update(facts=facts, tags=sorted(set(tags)))


def check_ref_name(name: str) -> str:
    """The name, if a branch or tag may have it. Raises BadChange."""
    bad = not _REF_NAME.fullmatch(name) or ".." in name or "//" in name or name.endswith((".lock", "/", "."))
    if bad or name.startswith("refs/") or re.fullmatch(r"[0-9a-f]{7,40}", name):
        raise BadChange(f"'{name[:80]}' cannot be the name of a branch or tag.")
    return name


def _create_ref(actor: Actor, repo: Repo, full: str, revision: str | None) -> Ref:
    rights.require(actor, Verb.WRITE, repo)
    target = trees.resolve_commit(repo, revision).sha
    try:
        with transaction.atomic():
            ref = Ref.objects.create(repo=repo, name=full, target=target)
            record(actor.account, "create_ref", repo=repo, ref=full, sha=target)
    except IntegrityError as error:
        raise Exists(f"{full} exists already in {repo.full_name}.") from error
    return ref


def _delete_ref(actor: Actor, repo: Repo, full: str) -> None:
    rights.require(actor, Verb.WRITE, repo)
    with transaction.atomic():
        if not Ref.objects.filter(repo=repo, name=full).delete()[0]:
            raise trees.RevisionNotFound(f"{repo.full_name} has no {full}.")
        record(actor.account, "delete_ref", repo=repo, ref=full)
