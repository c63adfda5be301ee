"""The maintainers' queue: what waits, and what was decided, bound to the commit that was seen."""

from __future__ import annotations

from django.db import transaction
from django.db.models import CharField, Count, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat

from hub import rights
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.repos import trees
from hub.repos.models import Ref
from hub.review import change_requests
from hub.review.models import ChangeRequest, Check, Comment, Decision, State, Verdict
from hub.rights import Denied, Verb


class Moved(Exception):
    """The change request has new commits since the one that was looked at; look again."""

    def __init__(self, head: str) -> None:
        super().__init__(f"New commits have arrived (now {head[:10]}). Look at them, then decide again.")
        self.head = head


def queue(actor: Actor) -> QuerySet[ChangeRequest]:
    """Open change requests the actor may read, the longest waiting first, with counts of their checks."""
    head = Ref.objects.filter(repo=OuterRef("repo"), name=_ref_name_of(OuterRef("number")))
    requests = (
        ChangeRequest.objects.visible_to(actor)
        .open()
        .select_related("repo__owner", "author")
        .annotate(head=Subquery(head.values("target")[:1]))
    )
    for name, verdict in (("passed", Verdict.PASS), ("warned", Verdict.WARN), ("failed", Verdict.FAIL)):
        counted = (
            Check.objects.filter(repo=OuterRef("repo"), sha=OuterRef("head"), verdict=verdict)
            .order_by()
            .values("repo")
            .annotate(n=Count("pk"))
            .values("n")
        )
        requests = requests.annotate(**{name: Subquery(counted)})
    return requests


def _ref_name_of(number: OuterRef) -> Concat:
    return Concat(Value("refs/pr/"), Cast(number, CharField()))


def may_decide(actor: Actor, request: ChangeRequest) -> bool:
    """Maintainers, but nobody their own: neither as author nor as (member of the) owner of the repo."""
    if not rights.can(actor, Verb.REVIEW, request.repo) or actor.account is None:
        return False
    return not rights.is_own_work(actor.account, request.repo, request.author)


def decide(*, actor: Actor, request: ChangeRequest, verdict: str, sha: str, reason: str = "") -> Decision:
    """Approve (and merge), request changes, or reject (and close) what was seen at `sha`.

    Raises Denied (not a maintainer, own work), Moved, change_requests.NotPossible, change_requests.MergeConflict.
    """
    if not may_decide(actor, request):
        raise Denied("Decisions are for maintainers, and nobody decides their own work or their organisation's.")
    assert actor.account is not None
    if verdict != Decision.Verdict.APPROVE and not reason.strip():
        raise change_requests.NotPossible("Say why: the contributor needs a reason to go on.")
    with transaction.atomic():
        request = (
            ChangeRequest.objects.select_for_update(of=("self",))
            .select_related("repo__owner", "author")
            .get(pk=request.pk)
        )
        if request.state != State.OPEN:
            raise change_requests.NotPossible(f"This change request is {request.state}; there is nothing to decide.")
        head = trees.resolve_commit(request.repo, request.ref).sha
        if head != sha:
            raise Moved(head)
        decision = Decision.objects.create(
            change_request=request, maintainer=actor.account, author=request.author, verdict=verdict, sha=sha,
            reason=reason.strip()[:5000],
        )  # fmt: skip
        Comment.objects.create(
            change_request=request, author=actor.account, kind=Comment.Kind.DECISION, text=decision.reason,
            data={"verdict": verdict, "oid": sha},
        )  # fmt: skip
        record(actor.account, f"decide_{verdict}", repo=request.repo, number=request.number, sha=sha)
        _carry_out(actor, request, verdict)
    return decision


def _carry_out(actor: Actor, request: ChangeRequest, verdict: str) -> None:
    if verdict == Decision.Verdict.APPROVE:
        change_requests.merge_approved(actor=actor, request=request)
    elif verdict == Decision.Verdict.REJECT:
        change_requests.set_state(actor=actor, request=request, state=State.CLOSED)
    else:
        change_requests.set_state(actor=actor, request=request, state=State.DRAFT)


def checks_of(request: ChangeRequest) -> QuerySet[Check]:
    """The checks on its newest commit."""
    head = trees.resolve_commit(request.repo, request.ref)
    return Check.objects.filter(repo=request.repo, sha=head.sha)
