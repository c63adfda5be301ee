"""What is said in a change request: mended, hidden, reacted to, followed, and told to those it concerns.

Only its author edits a comment; those who steer the change request may hide it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor, actor_for
from hub.accounts.models import Account
from hub.activity.notices import tell
from hub.activity.record import record
from hub.review import attachments
from hub.review.models import ChangeRequest, Comment, Reaction, State, Subscription
from hub.review.refusals import NotPossible
from hub.rights import Denied, Verb

_MENTION = re.compile(r"(?<![\w/@.`-])@([A-Za-z0-9][A-Za-z0-9._-]{0,95})")
_CODE = re.compile(r"```.*?(```|\Z)|`[^`\n]*`", re.DOTALL)
MOST_MENTIONS = 20


def edit(*, actor: Actor, comment: Comment, text: str) -> Comment:
    """Say it in other words. Raises Denied, NotPossible if there is nothing in it or it is hidden."""
    rights.require(actor, Verb.PROPOSE, comment.change_request.repo)
    if actor.account is None or comment.author_id != actor.account.pk:
        raise Denied("Only who wrote a comment may edit it.")
    if comment.hidden or not text.strip():
        raise NotPossible("A hidden comment stays hidden." if comment.hidden else "A comment needs some text.")
    with transaction.atomic():
        comment.text, comment.edited_at = text[:20_000], timezone.now()
        comment.save(update_fields=["text", "edited_at"])
        attachments.settle(comment)
        record(actor.account, "edit_comment", repo=comment.change_request.repo, comment=comment.pk)
    return comment


def hide(*, actor: Actor, comment: Comment) -> Comment:
    """Take a comment out of sight, for good. Raises Denied."""
    own = actor.account is not None and comment.author_id == actor.account.pk
    writes = rights.can(actor, Verb.WRITE, comment.change_request.repo)
    reviews = rights.can(actor, Verb.REVIEW, comment.change_request.repo)
    if not rights.can(actor, Verb.PROPOSE, comment.change_request.repo) or not (own or writes or reviews):
        raise Denied("Only who wrote a comment, the repo's writers and maintainers may hide it.")
    with transaction.atomic():
        comment.hidden = True
        comment.save(update_fields=["hidden"])
        attachments.settle(comment)
        record(actor.account, "hide_comment", repo=comment.change_request.repo, comment=comment.pk)
    return comment


def react(*, actor: Actor, comment: Comment, sign: str, on: bool = True) -> None:
    """Put a small sign on a comment, or take it back. Raises Denied, NotPossible for an unknown sign."""
    rights.require(actor, Verb.PROPOSE, comment.change_request.repo)
    if sign not in Reaction.Sign.values:
        raise NotPossible(f"A reaction is one of {', '.join(Reaction.Sign.values)}.")
    if comment.hidden:
        raise NotPossible("A hidden comment cannot be reacted to.")
    assert actor.account is not None
    if on:
        Reaction.objects.get_or_create(comment=comment, account=actor.account, sign=sign)
    else:
        Reaction.objects.filter(comment=comment, account=actor.account, sign=sign).delete()


def reactions(comments: Iterable[Comment], actor: Actor) -> dict[int, list[dict[str, object]]]:
    """Comment → its signs with their counts and whether one is the asker's own; one query for all comments."""
    counts: Counter[tuple[int, str]] = Counter()
    own: set[tuple[int, str]] = set()
    rows = Reaction.objects.filter(comment__in=[row.pk for row in comments])
    for comment, account, sign in rows.values_list("comment_id", "account_id", "sign"):
        counts[comment, sign] += 1
        if actor.account and account == actor.account.pk:
            own.add((comment, sign))
    shown: dict[int, list[dict[str, object]]] = {}
    for (comment, sign), count in sorted(counts.items()):
        mark = Reaction.Sign(sign).label
        row = {"sign": sign, "mark": mark, "count": count, "own": (comment, sign) in own}
        shown.setdefault(comment, []).append(row)
    return shown


def subscribe(*, actor: Actor, request: ChangeRequest, on: bool) -> None:
    """Follow or mute a change request. Raises Denied."""
    rights.require(actor, Verb.PROPOSE, request.repo)
    assert actor.account is not None
    Subscription.objects.update_or_create(change_request=request, account=actor.account, defaults={"on": on})


def follows(account: Account | None, request: ChangeRequest) -> bool:
    """Does this person get notices of it: by choice, or because they take part?"""
    if account is None:
        return False
    row = Subscription.objects.filter(change_request=request, account=account).first()
    return row.on if row else any(person.pk == account.pk for person in _taking_part(request))


def mentioned(text: str, request: ChangeRequest) -> list[Account]:
    """People named with @ (outside code) who may read the repo."""
    names = {name.rstrip(".").lower() for name in _MENTION.findall(_CODE.sub(" ", text))}
    if not names:
        return []
    by_name = re.compile("|".join(re.escape(name) for name in sorted(names)[:MOST_MENTIONS]))
    people = Account.objects.people().filter(name__iregex=f"^({by_name.pattern})$", is_active=True)
    return [person for person in people if rights.can(actor_for(person), Verb.READ, request.repo)]


def told_of_comment(comment: Comment) -> None:
    """Tell those who follow, and those who are named."""
    request, who = comment.change_request, comment.author
    named = mentioned(comment.text, request)
    url, name = f"{request.get_absolute_url()}#c{comment.pk}", who.name if who else "Somebody"
    tell(named, "mention", f"{name} mentions you in {request.title}", url, actor=who, repo=request.repo)
    known = {person.pk for person in named}
    others = [person for person in followers(request) if person.pk not in known]
    tell(others, "comment", f"{name} commented on {request.title}", url, actor=who, repo=request.repo)


def told_of_opening(request: ChangeRequest, description: str) -> None:
    """Tell those who are named in its description, and those who own the repo."""
    who, url = request.author, request.get_absolute_url()
    name = who.name if who else "Somebody"
    named = mentioned(description, request)
    tell(named, "mention", f"{name} mentions you in {request.title}", url, actor=who, repo=request.repo)
    if request.state == State.OPEN:
        _told_of_state(who, request)
    elif request.talk:
        known = {person.pk for person in named}
        others = [person for person in followers(request) if person.pk not in known]
        tell(others, "comment", f"{name} wants to talk: {request.title}", url, actor=who, repo=request.repo)


def told_of_state(actor: Actor, request: ChangeRequest) -> None:
    """Tell those who follow that it was opened, merged or closed."""
    _told_of_state(actor.account, request)


def _told_of_state(who: Account | None, request: ChangeRequest) -> None:
    text = f"{request.title} ({request.repo.full_name} #{request.number}) is now {request.state}"
    tell(followers(request), "state", text, request.get_absolute_url(), actor=who, repo=request.repo)


def followers(request: ChangeRequest) -> list[Account]:
    """Who takes part and has not muted it, and who follows it by choice; only those who may still read the repo."""
    chosen = {row.account_id: row for row in request.subscriptions.select_related("account")}
    people = {person.pk: person for person in _taking_part(request)}
    people |= {row.account_id: row.account for row in chosen.values() if row.on}
    people = {key: person for key, person in people.items() if key not in chosen or chosen[key].on}
    return [person for person in people.values() if rights.can(actor_for(person), Verb.READ, request.repo)]


def _taking_part(request: ChangeRequest) -> list[Account]:
    owner = request.repo.owner
    owners = list(owner.members.all()) if owner.is_organisation else [owner]
    people = {row.pk: row for row in owners} | ({request.author.pk: request.author} if request.author else {})
    said = Account.objects.filter(comments__change_request=request, comments__kind=Comment.Kind.COMMENT).distinct()
    return list((people | {row.pk: row for row in said}).values())
