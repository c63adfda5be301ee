"""The life of a change request: opened, discussed, merged or closed."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.numerals import key_of
from hub.repos import commits, trees
from hub.repos.changes import Change
from hub.repos.models import Commit, Ref, Repo
from hub.review import attachments, conversation, merging, queue
from hub.review.models import MOVES, ChangeRequest, Comment, DelayedRejection, Reason, State
from hub.review.refusals import NotPossible
from hub.rights import Denied, Verb


def open_change_request(
    *,
    actor: Actor,
    repo: Repo,
    title: str,
    description: str = "",
    draft: bool = False,
    talk: bool = False,
    target: str = "main",
    base: str | None = None,
) -> ChangeRequest:
    """Start a change request whose ref is the target's head (or the commit `base`) for now; commit to its ref next.

    With `talk` it is a discussion: it waits for nobody, and becomes a change request with the first commit to its ref.
    Raises Denied, RevisionNotFound (no such branch, or no such commit).
    """
    full, start = _start(actor, repo, target, base)
    number = _next_number(repo)
    with transaction.atomic():
        request = _opened(actor, repo, number, title, description, full, start, draft=draft or talk, talk=talk)
        conversation.told_of_opening(request, description)
    return request


def propose(
    *,
    actor: Actor,
    repo: Repo,
    changes_: Sequence[Change],
    title: str,
    description: str = "",
    target: str = "main",
    base: str | None = None,
) -> tuple[ChangeRequest, Commit]:
    """Open a change request with its first commit; if the commit is refused, nothing happened and nobody is told.

    Raises as `open_change_request` and `commits.commit`.
    """
    full, start = _start(actor, repo, target, base)
    ready = commits.prepare(repo, start.sha, changes_)
    number = _next_number(repo)
    message = f"{title}\n\n{description}".strip()
    with transaction.atomic():
        request = _opened(actor, repo, number, title, description, full, start, draft=False)
        made = commits.commit(
            actor=actor, repo=repo, changes_=changes_, message=message, branch=request.ref, ready=ready
        )
        conversation.told_of_opening(request, description)
    return request, made


def _start(actor: Actor, repo: Repo, target: str, base: str | None) -> tuple[str, Commit]:
    """The full ref of the target, and the commit to start from. Raises Denied, RevisionNotFound."""
    rights.require(actor, Verb.PROPOSE, repo)
    full = commits.full_ref(target)
    if not full.startswith("refs/heads/"):
        raise trees.RevisionNotFound(f"{repo.full_name} has no branch '{target[:80]}' that a change could go to.")
    head = trees.resolve_commit(repo, full)
    return full, head if base is None else trees.resolve_commit(repo, base)


def _next_number(repo: Repo) -> int:
    """A number that no other change request gets.

    In a transaction of its own: the repo's row is not kept locked while blobs are, which commits lock first.
    """
    with transaction.atomic():
        Repo.objects.filter(pk=repo.pk).update(next_number=F("next_number") + 1)
        return Repo.objects.values_list("next_number", flat=True).get(pk=repo.pk) - 1


def _opened(
    actor: Actor, repo: Repo, number: int, title: str, description: str, target: str, start: Commit, *,
    draft: bool, talk: bool = False,
) -> ChangeRequest:  # fmt: skip
    request = ChangeRequest.objects.create(
        repo=repo,
        number=number,
        title=_one_line(title) or "Untitled",
        author=actor.account,
        state=State.DRAFT if draft else State.OPEN,
        talk=talk,
        target=target,
        base=start.sha,
        opened_at=None if draft else timezone.now(),
    )
    Ref.objects.create(repo=repo, name=request.ref, target=start.sha)
    if description:
        said = Comment.objects.create(change_request=request, author=actor.account, text=description[:20_000])
        attachments.settle(said)
    record(actor.account, "open_change_request", repo=repo, number=number)
    if not draft:
        queue.reassess(request)
    return request


def comment(*, actor: Actor, request: ChangeRequest, text: str) -> Comment:
    """Say something. Raises Denied, NotPossible if there is nothing in it."""
    rights.require(actor, Verb.PROPOSE, request.repo)
    if not text.strip():
        raise NotPossible("A comment needs some text.")
    with transaction.atomic():
        row = Comment.objects.create(change_request=request, author=actor.account, text=text[:20_000])
        attachments.settle(row)
        record(actor.account, "comment", repo=request.repo, number=request.number)
        conversation.told_of_comment(row)
        if request.author_id == row.author_id:
            _answered(request)
    return row


def _one_line(title: str) -> str:
    """A title as it stands in lists and in the subject of a mail."""
    return " ".join(title.split())[:200]


def _answered(request: ChangeRequest) -> None:
    """Its author said or sent something: whoever asked a question need not wait for the date."""
    if ChangeRequest.objects.filter(pk=request.pk).exclude(reply_by=None).update(reply_by=None):
        queue.reassess(request, add=Reason.ANSWERED, drop=Reason.OVERDUE_ANSWER)


def set_state(*, actor: Actor, request: ChangeRequest, state: str, text: str = "") -> ChangeRequest:
    """Draft, open or close. Its author and those who may write the repo or review may. Raises Denied, NotPossible."""
    if not may_steer(actor, request):
        raise Denied("Only its author, the repo's writers and maintainers may change its state.")
    if state == State.MERGED:
        raise NotPossible("Use merge to merge a change request.")
    with transaction.atomic():
        request = ChangeRequest.objects.locked(request)
        if state == State.OPEN and request.talk:
            state = State.DRAFT  # nothing is proposed that could be decided
        if state == request.state:
            return request
        if state not in MOVES[request.state]:
            raise NotPossible(f"A change request that is {request.state} cannot become {state}.")
        request.state = state
        if state == State.OPEN and request.opened_at is None:
            request.opened_at = timezone.now()
        request.closed_at = timezone.now() if state == State.CLOSED else None
        request.save(update_fields=["state", "opened_at", "closed_at"])
        queue.reassess(request)
        conversation.told_of_state(actor, request)
        _happened(actor, request, Comment.Kind.STATUS, text, status=state)
        record(actor.account, f"{state}_change_request", repo=request.repo, number=request.number)
    return request


def set_title(*, actor: Actor, request: ChangeRequest, title: str) -> ChangeRequest:
    """Rename. Raises Denied."""
    if not may_steer(actor, request):
        raise Denied("Only its author, the repo's writers and maintainers may rename it.")
    with transaction.atomic():
        before, request.title = request.title, _one_line(title) or request.title
        request.save(update_fields=["title"])
        _happened(actor, request, Comment.Kind.TITLE, "", **{"from": before, "to": request.title})
        record(actor.account, "rename_change_request", repo=request.repo, number=request.number)
    return request


def merge(*, actor: Actor, request: ChangeRequest, text: str = "") -> Commit:
    """A writer of the repo brings the proposed commits into the target.

    Raises Denied, NotPossible, MergeConflict.
    """
    rights.require(actor, Verb.WRITE, request.repo)
    with transaction.atomic():
        ChangeRequest.objects.filter(pk=request.pk).update(approver=None, second_approver=None)
        return _merge(actor, request, text)


def merge_approved(*, actor: Actor, request: ChangeRequest) -> Commit:
    """A maintainer's approval brings them in (`decisions.decide` has asked for the right to). Raises as `merge`."""
    rights.require(actor, Verb.REVIEW, request.repo)
    return _merge(actor, request, "")


def _merge(actor: Actor, request: ChangeRequest, text: str) -> Commit:
    with transaction.atomic():
        request = ChangeRequest.objects.locked(request)
        repo = request.repo
        if request.state not in (State.OPEN, State.DRAFT):
            raise NotPossible(f"This change request is {request.state} already.")
        ours, theirs = trees.resolve_commit(repo, request.target), trees.resolve_commit(repo, request.ref)
        if theirs.sha == request.base:
            raise NotPossible("There is nothing to merge: no commit was proposed.")
        both = merging.merged(request, ours, theirs)
        merged = commits.commit_merge(
            author=actor.account,
            repo=repo,
            branch=request.target,
            parents=[ours.sha, theirs.sha],
            files=both.files,
            message=f"Merge change request #{request.number}: {request.title}",
            puts=both.puts,
        )
        _mark_merged(actor, request, merged, text)
    return merged


def may_steer(actor: Actor, request: ChangeRequest) -> bool:
    """Its author, writers of the repo, and maintainers."""
    if actor.account is None or not rights.can(actor, Verb.PROPOSE, request.repo):
        return False
    if request.author_id == actor.account.pk:
        return True
    return rights.can(actor, Verb.WRITE, request.repo) or rights.can(actor, Verb.REVIEW, request.repo)


def note_commit(repo: Repo, commit: Commit, ref: Ref) -> None:
    """A commit arrived on a change request's ref: it belongs to the discussion."""
    if not ref.name.startswith("refs/pr/"):
        return
    request = ChangeRequest.objects.filter(repo=repo, number=ref.name.removeprefix("refs/pr/")).first()
    if request:
        Comment.objects.create(
            change_request=request,
            author=commit.author,
            kind=Comment.Kind.COMMIT,
            data={"oid": commit.sha, "subject": commit.title},
        )
        DelayedRejection.objects.filter(change_request=request).delete()
        ChangeRequest.objects.filter(pk=request.pk).update(approver=None, second_approver=None, talk=False)
        _answered(request)
        queue.reassess(request)


def _mark_merged(actor: Actor, request: ChangeRequest, merged: Commit, text: str) -> None:
    request.state, request.merged_as, request.closed_at = State.MERGED, merged.sha, timezone.now()
    request.save(update_fields=["state", "merged_as", "closed_at"])
    queue.reassess(request)
    conversation.told_of_state(actor, request)
    _happened(actor, request, Comment.Kind.STATUS, text, status=State.MERGED)
    record(actor.account, "merge_change_request", repo=request.repo, number=request.number, sha=merged.sha)


def _happened(actor: Actor, request: ChangeRequest, kind: str, text: str, **data: str) -> None:
    said = Comment.objects.create(
        change_request=request, author=actor.account, kind=kind, text=text[:20_000], data=data
    )
    attachments.settle(said)


def may_write_ref(actor: Actor, repo: Repo, ref_name: str) -> bool:
    """A change request's own ref may be written by its author while it is not merged."""
    if actor.account is None or not ref_name.startswith("refs/pr/"):
        return False
    number = key_of(ref_name.removeprefix("refs/pr/"))
    requests = ChangeRequest.objects.filter(repo=repo, author=actor.account).exclude(state=State.MERGED)
    return requests.filter(number=number).exists()
