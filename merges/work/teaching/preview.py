"""What an order would do, before anything is kept: remarks by row, labels, what is held back, settings and cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from adapters.catalog.tasks import TaskRows, read_task
from hub.accounts.actor import Actor
from hub.repos.models import Kind, Repo
from merges.training.estimates import Estimate
from merges.training.intake import Looked, Remark, enough, part
from merges.training.settings import Settings
from merges.work.subjects import pin
from merges.work.teaching.asking import Order, chosen_base, estimate_for, last_teaching, settings_of
from merges.work.teaching.data import look_at_examples
from merges.work.teaching.quota import Quota, quota_of


@dataclass
class Preview:
    """`taught` and `tested` count examples; `task` names the existing task that is used or extended, if any."""

    remarks: list[Remark] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    taught: int = 0
    tested: int = 0
    task: str = ""
    base: str = ""
    settings: Settings | None = None
    estimate: Estimate | None = None
    quota: Quota | None = None

    @property
    def joinable(self) -> bool:
        """True when labels differ only by case or spaces, so that joining them is all there is to do."""
        return any(remark.code == "labels_alike" for remark in self.remarks)

    @property
    def usable(self) -> bool:
        """True when nothing forbids teaching."""
        return bool(self.taught) and all(remark.severity != "error" for remark in self.remarks)


def look_ahead(*, actor: Actor, order: Order) -> Preview:
    """Check an order without keeping anything; whether the target may be written is asked later. Raises BadRequest."""
    targets = Repo.objects.models().with_id(order.target.strip()) if "/" in order.target else Repo.objects.none()
    existing = targets.visible_to(actor).first()
    previous = last_teaching(actor, existing)
    name = order.task or (previous.task.full_name if previous else "")
    known: TaskRows | None = None
    if name:
        task = pin(name, actor, kinds=(Kind.TASK,))
        known = read_task(task.repo, task.commit)
    looked = Looked()
    if order.given is not None:
        looked = look_at_examples(order.given, order.filename, into=known, join=order.join)
    base = chosen_base(actor, order.base or (previous.base.full_name if previous and previous.base else ""))
    taught, tested = (looked.rows, []) if known else part(looked.rows, order.test_share)
    together = TaskRows((), "", {"train": [*(known.split("train") if known else []), *taught]})
    rows = together.few(order.at_most, order.seed).split("train")
    settings = settings_of(order, base, len(rows))
    sizes = enough(Counter(row.label for row in rows)) if rows else []
    remarks = [*looked.remarks, *(remark for remark in sizes if remark not in looked.remarks)]
    preview = Preview(
        remarks=remarks, labels={}, taught=len(rows), task=name, base=base.name, settings=settings,
        tested=len(known.split("test")) if known else len(tested),
        quota=quota_of(actor.account) if actor.account else None,
    )  # fmt: skip
    for row in rows:
        preview.labels[row.label] = preview.labels.get(row.label, 0) + 1
    if rows:
        preview.estimate = estimate_for(base, settings, rows, len(known.split("validation")) if known else 0)
    return preview
