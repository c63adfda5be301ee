"""What a change request's page knows and does beyond its files: discussion, reasons, notes, decisions, evaluations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time
from functools import partial
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from django.utils import timezone

from hub.accounts.actor import Actor
from hub.activity.models import Event
from hub.numerals import key_of, whole
from hub.repos import standing
from hub.repos.models import Commit
from hub.review import attachments, change_requests, conversation, decisions, queue, replies
from hub.review.models import ChangeRequest, Check, Comment, Reaction, State, Verdict
from hub.review.refusals import NotPossible
from merges.models import Evaluation

Work = Callable[[], Any]
_NO_MARKS = re.compile(r"[\[\]()\\!<>`\s]+")
VERDICTS = ("approve", "request_changes", "reject", "request_info")


def action(actor: Actor, row: ChangeRequest, asked: QueryDict) -> Work | None:
    """The room function that a button means; None for a button there is not."""
    text, name = asked.get("text", ""), asked.get("action", "")
    if name in VERDICTS:
        return partial(_decide, actor, row, name, asked)
    if name in ("open", "closed", "draft"):
        return partial(change_requests.set_state, actor=actor, request=row, state=name, text=text)
    if name in ("subscribe", "mute"):
        return partial(conversation.subscribe, actor=actor, request=row, on=name == "subscribe")
    if name == "react":
        return partial(_react, actor, row, asked)
    known: dict[str, Work] = {
        "comment": partial(change_requests.comment, actor=actor, request=row, text=text),
        "merge": partial(change_requests.merge, actor=actor, request=row, text=text),
        "note": partial(decisions.add_note, actor=actor, request=row, text=text),
        "hand_over": partial(decisions.hand_over, actor=actor, request=row, to=asked.get("to", ""), note=text),
        "standing": partial(
            standing.set_standing, actor=actor, repo=row.repo, standing=asked.get("standing", ""), reason=text
        ),
        "edit": partial(_edit, actor, row, asked),
        "hide": partial(_hide, actor, row, asked),
    }
    return known.get(name)


def pictures(actor: Actor, files: Iterable[UploadedFile]) -> str:
    """Markdown that shows these files in a comment. Raises as `attachments.keep`."""
    kept = [(file.name or "picture", attachments.keep(actor=actor, data=file.read())) for file in files]
    return "\n".join(f"![{_NO_MARKS.sub(' ', name)[:100]}]({row.get_absolute_url()})" for name, row in kept)


def anchor(asked: QueryDict) -> str:
    """Where on the page to come back to."""
    comment = asked.get("comment", "")
    return "" if whole(comment) is None else f"#c{comment}"


def _decide(actor: Actor, row: ChangeRequest, verdict: str, asked: QueryDict) -> Any:
    reason = asked.get("text", "").strip() or replies.text_of(asked.get("canned", ""))
    date = _date(asked.get("date", ""))
    return decisions.decide(
        actor=actor, request=row, verdict=verdict, sha=asked.get("sha", ""), reason=reason,
        reply_by=date if verdict == "request_info" else None, reject_at=date if verdict == "reject" else None,
    )  # fmt: skip


def _date(text: str) -> datetime | None:
    if not text:
        return None
    try:
        day = datetime.strptime(text[:10], "%Y-%m-%d").date()  # noqa: DTZ007  # a day; its zone is set below
    except ValueError as error:
        raise NotPossible("A date looks like 2027-03-31.") from error
    return datetime.combine(day, time(23, 59), UTC)


def _comment(row: ChangeRequest, asked: QueryDict) -> Comment:
    found = row.comments.filter(pk=key_of(asked.get("comment")), kind=Comment.Kind.COMMENT).first()
    if found is None:
        raise NotPossible("There is no such comment.")
    found.change_request = row
    return found


def _react(actor: Actor, row: ChangeRequest, asked: QueryDict) -> None:
    """A second press takes the sign back."""
    comment, sign = _comment(row, asked), asked.get("sign", "")
    on = not Reaction.objects.filter(comment=comment, account=actor.account, sign=sign).exists()
    conversation.react(actor=actor, comment=comment, sign=sign, on=on)


def _edit(actor: Actor, row: ChangeRequest, asked: QueryDict) -> None:
    conversation.edit(actor=actor, comment=_comment(row, asked), text=asked.get("text", ""))


def _hide(actor: Actor, row: ChangeRequest, asked: QueryDict) -> None:
    conversation.hide(actor=actor, comment=_comment(row, asked))


def folded(found: Iterable[Check]) -> dict[str, list[Check]]:
    """Checks as pages show them: what speaks against a commit first, what passed folded."""
    checks = list(found)
    against = sorted((item for item in checks if item.verdict != Verdict.PASS), key=lambda item: item.verdict)
    return {"checks": checks, "against": against, "passed": [item for item in checks if item.verdict == Verdict.PASS]}


def context(actor: Actor, row: ChangeRequest, head: Commit) -> dict[str, Any]:
    """What the page shows of the discussion and for the decision."""
    may_decide = row.state == State.OPEN and decisions.may_decide(actor, row)
    if actor.is_maintainer and row.state == State.OPEN:
        queue.look(actor, row)
    comments = list(row.comments.select_related("author"))
    said = conversation.reactions(comments, actor)
    for comment in comments:
        comment.signs = said.get(comment.pk, [])  # type: ignore[attr-defined]
    history = Event.objects.filter(repo=row.repo, data__number=row.number).select_related("actor").order_by("-at")
    return {
        **folded(decisions.checks_of(row)),
        "comments": comments, "signs": Reaction.Sign.choices,
        "why": row.reasons.filter(ended_at=None), "lookers": queue.lookers(row, actor) if actor.is_maintainer else [],
        "follows": conversation.follows(actor.account, row), "history": history[:50],
        "notes": decisions.notes_of(actor, row), "reply_groups": replies.groups() if may_decide else {},
        "next_waiting": queue.next_after(actor, row) if actor.is_maintainer else None,
        "deciders": decisions.deciders(row) if may_decide else [],
        "delayed": getattr(row, "delayed_rejection", None) if row.state == State.OPEN else None,
        "evaluations": _evaluations(actor, row, head), "today": timezone.now().date().isoformat(),
        "may_set_standing": standing.may_set(actor, row.repo, "yanked") and actor.is_maintainer,
    }  # fmt: skip


def _evaluations(actor: Actor, row: ChangeRequest, head: Commit) -> list[Evaluation]:
    """Scores of the proposed commit, and of the published one beside them."""
    shas = {head.sha, row.repo.head}
    rows = Evaluation.objects.visible_to(actor).filter(subject=row.repo, subject_sha__in=shas).exclude(score=None)
    return list(rows.select_related("task__owner").order_by("task_id", "created_at")[:40])
