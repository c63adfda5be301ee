"""Asking for a specialist: base, examples and method chosen or left to the defaults, then a task, a row and a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from adapters.catalog import bases
from adapters.catalog.tasks import TaskRows, read_task
from adapters.tasks.reading import Row
from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.record import record
from hub.jobs.models import Queue
from hub.jobs.queue import enqueue
from hub.repos import lifecycle, trees
from hub.repos.models import Kind, Repo
from hub.rights import Denied
from merges.models import Teaching
from merges.training.estimates import FLOPS_PER_SECOND, LETTERS_PER_TOKEN, BaseSize, Estimate, estimate
from merges.training.folds import usable_folds
from merges.training.intake import enough
from merges.training.settings import PRESETS, TITLES, Settings, TrainingFault, usual_settings
from merges.work.subjects import BadRequest, Pinned, facts_of, pin
from merges.work.teaching.data import BadExamples, extend, keep_new, look_at_examples
from merges.work.teaching.quota import count_one

TOKENIZERS = frozenset({"tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model"})
LARGE_BASE = 100_000_000
"""Bases from this many parameters on wait for a GPU worker (on a small hub the same worker serves both queues)."""
TEST_SHARE = 0.25


@dataclass(frozen=True)
class Order:
    """What a person asks for; everything but `target` and the examples may be left to the defaults.

    Examples are `given` (a text, or a program's list of rows) or the train split of the task repo `task`. `start` is
    "auto", "base", "merge" or "lorahub" (of the nearest specialists), or owner/name of one to go on from. `settings`
    overrides numbers of the method's preset. `at_most` of the examples are taught, of every label in turn (0: all).
    """

    target: str
    given: bytes | list[Any] | None = None
    filename: str = ""
    task: str = ""
    base: str = ""
    method: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: str = "auto"
    seed: int = 0
    private: bool | None = None
    join: bool = False
    test_share: float = TEST_SHARE
    at_most: int = 0
    license: str = "other"


def ask_for_teaching(*, actor: Actor, order: Order) -> Teaching:
    """Keep the examples as a task, queue the training, and return its row; the job publishes the specialist.

    Taught again, the same target gets a new revision, and examples are added to those of last time.
    Raises BadExamples (by row), BadRequest, TooMany, Denied, ValidationError.
    """
    if not actor.may_write or actor.account is None:
        raise Denied("Sign in (or use a token with the write scope) to teach a specialist.")
    owner, name, existing = target_of(actor, order.target)
    previous = last_teaching(actor, existing)
    base = chosen_base(actor, order.base or (previous.base.full_name if previous and previous.base else ""))
    begin = _start_of(actor, order.start, base)
    with transaction.atomic():
        count_one(Account.objects.select_for_update().get(pk=actor.account.pk))  # two at once would both pass
        if order.private and existing and not existing.private:
            raise BadRequest(
                f"{existing.full_name} is public. Make it private in its settings, or choose another name."
            )
        task, rows = _task_of(actor, order, owner, name, existing, previous)
        hidden = task.repo.private or base.repo.private or (begin.repo.private if begin else False)
        repo = existing or lifecycle.create_repo(
            actor=actor, owner=owner, name=name, kind=Kind.ADAPTER, private=True if hidden else order.private
        )
        if hidden and not repo.private:
            raise BadRequest(f"{repo.full_name} is public, but its examples or base are private. Make it private.")
        taught = few_of(rows, order)
        made = settings_of(order, base, len(taught.split("train")))
        start = {"asked": begin.name if begin else order.start or "auto"}
        return _queued(actor, repo, task, taught, base, made, start, order.at_most)


def target_of(actor: Actor, target: str) -> tuple[Account, str, Repo | None]:
    """(owner, name, the repo if it is there). Raises BadRequest, Denied."""
    owner_name, _, name = target.strip().partition("/")
    owner = Account.objects.filter(name__iexact=owner_name).first()
    if owner is None or not name:
        raise BadRequest("Say where the specialist goes as owner/name, with yourself or your organisation as owner.")
    repo = Repo.objects.models().with_id(target.strip()).visible_to(actor).select_related("owner").first()
    if repo is None:
        if not rights.can_act_for(actor, owner):
            raise Denied(f"You may not create repos for {owner.name}.")
        return owner, name, None
    rights.require(actor, rights.Verb.WRITE, repo)
    if repo.kind == Kind.BASE and repo.head:
        raise BadRequest(f"{repo.full_name} is a base. Choose another name for the specialist.")
    return owner, name, repo


def few_of(rows: TaskRows, order: Order) -> TaskRows:
    """As many of a task's examples as are to be taught. Raises BadExamples for too few, too many, or one label."""
    taught = rows.few(order.at_most, order.seed)
    remarks = enough(Counter(row.label for row in taught.split("train")))
    if any(remark.severity == "error" for remark in remarks):
        raise BadExamples(remarks)
    return taught


def last_teaching(actor: Actor, repo: Repo | None) -> Teaching | None:
    """The teaching whose result the repo holds, newest first, if the actor may see it."""
    if repo is None:
        return None
    found = Teaching.objects.visible_to(actor).filter(repo=repo).exclude(result_sha="")
    return found.select_related("task__owner", "base__owner").first()


def teachable_bases(actor: Actor) -> list[Repo]:
    """Bases with weights and a tokenizer that the actor may read, the smallest first."""
    rows = Repo.objects.visible_to(actor).filter(kind=Kind.BASE).exclude(head="").select_related("owner")
    known = [repo for repo in rows[:100] if repo.facts.get("base_parameters")]
    return sorted(known, key=lambda repo: (int(repo.facts["base_parameters"]), repo.full_name))


def chosen_base(actor: Actor, name: str) -> Pinned:
    """The base asked for, or the smallest there is: it teaches in seconds. Raises BadRequest."""
    if name:
        base = pin(name, actor, kinds=(Kind.BASE,))
    else:
        found = next((repo for repo in teachable_bases(actor) if _has_tokenizer(repo)), None)
        head = bases.head_of(found) if found else None
        if found is None or head is None:
            raise BadRequest("There is no base on this hub yet that can be taught. Publish one with its tokenizer.")
        return Pinned(found, head)
    if not _has_tokenizer(base.repo):
        raise BadRequest(f"{base.name} has no tokenizer. Add tokenizer.json (or vocab.txt) to it, or choose another.")
    return base


def size_of(base: Pinned) -> BaseSize:
    """What a training on this base is estimated from. Raises BadRequest while its inspection waits."""
    facts = facts_of(base) or dict(base.repo.facts)
    parameters = facts.get("base_parameters")
    if not isinstance(parameters, int):
        raise BadRequest(f"{base.name} has no readable weights, or its inspection is waiting: try again in a moment.")
    names = facts.get("architectures")
    kinds = [str(name) for name in names] if isinstance(names, list) else []
    return BaseSize.of(facts, parameters, causal=any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in kinds))


def settings_of(order: Order, base: Pinned, examples: int) -> Settings:
    """Every number of the training: the preset for this base and size, then what was asked. Raises BadRequest."""
    causal = size_of(base).causal
    method = ("ia3" if causal else "lora") if order.method in ("", "auto") else order.method
    try:
        if method not in PRESETS:
            raise TrainingFault(f"There is no method {method[:40]!r}. Choose one of {', '.join(TITLES)}.")
        raw = (
            usual_settings(method, causal=causal, examples=examples).to_dict()
            | dict(order.settings)
            | {"seed": order.seed}
        )
        return Settings.from_dict(raw)
    except TrainingFault as error:
        raise BadRequest(str(error)) from error


def estimate_for(base: Pinned, settings: Settings, rows: list[Row], validation: int = 0) -> Estimate:
    """What teaching these rows will cost, at the speed this hub has measured on this base, else at a usual one."""
    most = settings.max_length * LETTERS_PER_TOKEN  # of a longer text only the beginning is read
    letters = sum(min(most, len(row.text) + len(row.text_pair or "")) for row in rows) / max(1, len(rows))
    labels = sorted({row.label for row in rows})
    folds = usable_folds([row.label for row in rows], settings.folds) if not validation and settings.patience else 0
    return estimate(
        size_of(base), settings, examples=len(rows), letters=letters, labels=len(labels),
        label_letters=sum(map(len, labels)) / max(1, len(labels)), validation=validation, folds=folds,
        speed=measured_speed(base.repo),
    )  # fmt: skip


def measured_speed(base: Repo) -> float:
    """Median of operations per second of the last trainings on a base; a usual figure while there are none."""
    reports = Teaching.objects.filter(base=base).exclude(result_sha="").values_list("report__speed", flat=True)[:9]
    known = sorted(float(speed) for speed in reports if speed)
    return known[len(known) // 2] if known else FLOPS_PER_SECOND


def _has_tokenizer(repo: Repo) -> bool:
    head = bases.head_of(repo)
    return head is not None and bool(TOKENIZERS & trees.flatten(repo, head.tree).keys())


def _start_of(actor: Actor, start: str, base: Pinned) -> Pinned | None:
    """The specialist named as a start; None for "base" and "auto". Raises BadRequest."""
    if start in ("", "auto", "base", "merge", "lorahub"):
        return None
    begin = pin(start, actor, kinds=(Kind.ADAPTER,))
    if (facts_of(begin) or {}).get("base") != base.name:
        raise BadRequest(
            f"{begin.name} was not made for {base.name}; only a specialist of the same base can be a start."
        )
    return begin


def _task_of(
    actor: Actor, order: Order, owner: Account, name: str, existing: Repo | None, previous: Teaching | None
) -> tuple[Pinned, TaskRows]:
    """The task to learn from and its rows: an existing one, the last one with more examples, or a new one."""
    if order.task:
        task = pin(order.task, actor, kinds=(Kind.TASK,))
    elif previous is not None:
        task = pin(previous.task.full_name, actor, kinds=(Kind.TASK,))
    elif order.given is not None:
        looked = look_at_examples(order.given, order.filename, join=order.join)
        private = existing.private if existing else order.private
        task = keep_new(
            actor=actor, owner=owner, name=_free_name(owner, name), looked=looked, share=order.test_share,
            private=owner.default_private if private is None else private, license_name=order.license,
        )  # fmt: skip
        return task, read_task(task.repo, task.commit)
    else:
        raise BadRequest("Give examples, or name a task that has some.")
    rows = read_task(task.repo, task.commit)
    if order.given is not None:
        if order.private and not task.repo.private:
            raise BadRequest(
                f"{task.name} is public, and so would be your examples in it. Choose another name for both."
            )
        looked = look_at_examples(order.given, order.filename, into=rows, join=order.join)
        task = extend(actor=actor, task=task, known=rows, looked=looked)
        rows = read_task(task.repo, task.commit)
    return task, rows


def _free_name(owner: Account, name: str) -> str:
    """`name-examples`, with a number if that is taken."""
    wanted = f"{name[:80]}-examples"
    taken = set(Repo.objects.tasks().filter(owner=owner, name__startswith=wanted).values_list("name", flat=True))
    return next(made for made in (wanted, *(f"{wanted}-{n}" for n in range(2, 1000))) if made not in taken)


def _queued(
    actor: Actor,
    repo: Repo,
    task: Pinned,
    rows: TaskRows,
    base: Pinned,
    made: Settings,
    start: dict[str, Any],
    at_most: int,
) -> Teaching:
    train = rows.split("train")
    cost = estimate_for(base, made, train, len(rows.split("validation")))
    large = size_of(base).parameters >= LARGE_BASE
    shown = "a private task" if task.repo.private else task.name
    job = enqueue(
        "merges.teach", title=f"Teach {repo.full_name} with {len(train)} examples of {shown}", arguments={},
        owner=actor.account, repo=repo, queue=Queue.GPU if large else Queue.HEAVY,
    )  # fmt: skip
    row = Teaching.objects.create(
        owner=actor.account, repo=repo, task=task.repo, task_sha=task.commit.sha, base=base.repo,
        base_sha=base.commit.sha, examples=len(train), at_most=at_most, settings=made.to_dict(), start=start,
        estimate={"seconds": round(cost.seconds, 1), "memory": cost.memory, "steps": cost.steps, "flops": cost.flops},
        job=job,
    )  # fmt: skip
    record(actor.account, "ask_for_teaching", repo=repo, job=str(job.pk), examples=len(train))
    return row
