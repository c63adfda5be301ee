"""Bringing a change request up to date: its target's commits are merged into it, with conflicts resolved by somebody.

What a conflicting file becomes is worked out elsewhere (a higher room may merge what is inside files); here it is
checked that nothing moved meanwhile, and recorded as a merge commit on the change request's own ref.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.repos import commits, trees
from hub.repos.changes import Content, Put
from hub.repos.models import Commit
from hub.review import merging
from hub.review.change_requests import may_steer
from hub.review.models import ChangeRequest, State
from hub.review.refusals import NotPossible
from hub.rights import Denied


def bring_up_to_date(
    *,
    actor: Actor,
    request: ChangeRequest,
    ours: str,
    theirs: str,
    resolved: Mapping[str, Content | None],
    message: str,
) -> Commit:
    """Merge the target (at commit `ours`) into the change request (at `theirs`); returns the new commit on its ref.

    `resolved` says what each conflicting path becomes (None: it goes away). By its author, the repo's writers and
    maintainers. Raises Denied, NotPossible (also if either side moved), MergeConflict for paths left unresolved, and
    what `commits.commit` raises for files.
    """
    if not may_steer(actor, request):
        raise Denied("Only its author, the repo's writers and maintainers may bring it up to date.")
    with transaction.atomic():
        request = ChangeRequest.objects.locked(request)
        repo = request.repo
        if request.state not in (State.OPEN, State.DRAFT):
            raise NotPossible(f"This change request is {request.state} already.")
        target, proposed = trees.resolve_commit(repo, request.target), trees.resolve_commit(repo, request.ref)
        if (target.sha, proposed.sha) != (ours, theirs):
            raise NotPossible("The target or the change request has new commits since; look again and merge anew.")
        if target.sha == request.base:
            raise NotPossible("It is up to date: its target has no newer commits.")
        both = merging.merged(request, target, proposed, resolved)
        files = dict(both.files)
        for path, content in resolved.items():
            if content is None:
                files.pop(path, None)
        made = commits.commit_merge(
            author=actor.account,
            repo=repo,
            branch=request.ref,
            parents=[proposed.sha, target.sha],
            files=files,
            message=message,
            puts=[*both.puts, *(Put(path, content) for path, content in resolved.items() if content is not None)],
        )
        ChangeRequest.objects.filter(pk=request.pk).update(base=target.sha)
        record(actor.account, "update_change_request", repo=repo, number=request.number, sha=made.sha)
    return made
