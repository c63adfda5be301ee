"""Written rules of acceptance: made and switched by maintainers; a share of what they accept is looked at again."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor
from hub.activity.record import record
from hub.numerals import key_of
from hub.repos.models import Repo
from hub.review.models import AutoRule, Sample
from hub.review.refusals import NotPossible
from hub.rights import Denied

RANGES = {"accepted_before": (1, 1000), "most_files": (1, 100)}


def all_rules() -> QuerySet[AutoRule]:
    """Every rule, switched on or not: whoever contributes may read by what they are judged."""
    return AutoRule.objects.select_related("owner")


def make(*, actor: Actor, asked: dict[str, Any]) -> AutoRule:
    """Write a rule; it decides in its owner's name and never about their own work. Raises Denied, NotPossible."""
    account = _maintainer(actor)
    name = str(asked.get("name", "")).strip()[:80]
    if not name:
        raise NotPossible("A rule needs a name.")
    try:
        sample = float(asked.get("sample", 0.2))
        numbers = {field: int(asked.get(field, 3)) for field in RANGES}
    except (TypeError, ValueError) as error:
        raise NotPossible("The numbers of a rule are whole, and the sample is a share from 0 to 1.") from error
    if not 0 <= sample <= 1 or any(not low <= numbers[field] <= high for field, (low, high) in RANGES.items()):
        raise NotPossible("A sample is a share from 0 to 1; a rule asks for 1 to 1000 changes and 1 to 100 files.")
    only_text = str(asked.get("only_text", "")) in ("on", "1", "True", "true")
    try:
        with transaction.atomic():
            rule = AutoRule.objects.create(name=name, owner=account, sample=sample, only_text=only_text, **numbers)
            record(account, "make_rule", name=name)
    except IntegrityError as error:
        raise NotPossible(f"There is a rule called {name} already.") from error
    return rule


def switch(*, actor: Actor, key: str, on: bool) -> None:
    """Switch a rule on or off. Raises Denied, NotPossible."""
    account = _maintainer(actor)
    rule = AutoRule.objects.filter(pk=key_of(key)).first()
    if rule is None:
        raise NotPossible("There is no such rule.")
    AutoRule.objects.filter(pk=rule.pk).update(enabled=on)
    record(account, "switch_rule", name=rule.name, on=on)


def waiting_samples(actor: Actor) -> QuerySet[Sample]:
    """Decisions made by rules that nobody has looked at again, of repos the actor may read."""
    readable = Repo.objects.visible_to(actor)
    rows = Sample.objects.filter(seen_at=None, decision__change_request__repo__in=readable)
    return rows.select_related("decision__rule", "decision__change_request__repo__owner").order_by("pk")


def judge(*, actor: Actor, key: str, agreed: bool) -> None:
    """Say whether a rule decided well; not about one's own work. Raises Denied, NotPossible."""
    account = _maintainer(actor)
    sample = waiting_samples(actor).filter(pk=key_of(key)).first()
    if sample is None:
        raise NotPossible("There is no such sample, or it was looked at already.")
    request = sample.decision.change_request
    if rights.is_own_work(account, request.repo, request.author):
        raise Denied("Nobody judges what concerns their own work.")
    Sample.objects.filter(pk=sample.pk).update(seen_by=account, seen_at=timezone.now(), agreed=agreed)
    record(account, "judge_sample", repo=request.repo, number=request.number, agreed=agreed)


def _maintainer(actor: Actor) -> Any:
    if actor.account is None or not actor.may_write or not actor.is_maintainer or actor.is_limited:
        raise Denied("Rules are for maintainers.")
    return actor.account
