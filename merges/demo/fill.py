"""Fills an empty hub: base, tasks and specialists published by the real client, then a merge, evaluations, proposals.

Every step asks first whether it is done, so filling twice changes nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from hub.accounts.actor import actor_for
from hub.accounts.models import Account
from hub.jobs.models import ENDED, Job, State
from hub.repos.models import Repo
from hub.review.models import ChangeRequest
from merges.demo import proposals, system
from merges.demo.bases import MINILM, SMOLLM2, DemoBase, write_base
from merges.demo.people import ORGANISATION, DemoPeople, ensure_people, retire_tokens
from merges.demo.specialists import SPECIALISTS, Specialist, train_specialist
from merges.demo.texts import TASKS, DemoSplits, write_task
from merges.models import Evaluation, Merge
from merges.work.evaluating import ask_for_evaluation
from merges.work.merging import ask_for_merge

MERGED = ("minilm-cloud-service-lora", "minilm-cloud-action-lora")
MERGE_NAME = "minilm-cloud-ties"
WAIT_SECONDS = 900.0
Step = Callable[[str, int, int], None]


class DemoFault(Exception):
    """A step did not work; the message says which job and why."""


@dataclass
class Filling:
    """What the steps share: where the hub is, who publishes, and scratch space."""

    url: str
    people: DemoPeople
    scratch: Path
    step: Step

    @property
    def base_name(self) -> str:
        return f"{ORGANISATION}/{MINILM.name}"

    def owner_of(self, specialist: Specialist) -> str:
        """Ada and Grace share the specialists between them."""
        return ("ada", "grace")[SPECIALISTS.index(specialist) % 2]

    def full_name(self, name: str) -> str:
        """owner/name of a specialist."""
        specialist = next(item for item in SPECIALISTS if item.name == name)
        return f"{self.owner_of(specialist)}/{name}"

    def publish(self, by: str, repo_id: str, folder: Path, message: str, **options: Any) -> None:
        """Upload a folder with huggingface_hub, as anybody would."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.url, token=self.people.tokens[by])
        repo_type = options.pop("repo_type", None)
        if not options.get("create_pr"):
            api.create_repo(repo_id, repo_type=repo_type, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, repo_type=repo_type, commit_message=message, **options)


def fill(url: str, step: Step, *, with_smollm2: bool = False) -> DemoPeople:
    """Fill the hub at `url`, whose database this process also reaches; `step(name, done, total)` tells how far.

    Raises DemoFault when a job fails.
    """
    people = ensure_people(Path(settings.STATE))
    with tempfile.TemporaryDirectory(prefix="tessera-demo-") as scratch:
        filling = Filling(url, people, Path(scratch), step)
        made = _bases_and_tasks(filling, [MINILM, SMOLLM2] if with_smollm2 else [MINILM])
        _specialists(filling, made)
        _merge(filling)
        _proposals(filling)
        _system(filling)
        _wait_for_jobs(filling)
    retire_tokens()
    return people


def _bases_and_tasks(filling: Filling, bases: list[DemoBase]) -> dict[str, DemoSplits]:
    for number, base in enumerate(bases):
        filling.step("Base models", number, len(bases))
        name = f"{ORGANISATION}/{base.name}"
        folder = write_base(base, filling.scratch / base.name)
        if not _published(name):
            filling.publish("ada", name, folder, f"Publish {base.title}")
    filling.step("Base models", len(bases), len(bases))
    made = {}
    for number, task in enumerate(TASKS):
        filling.step("Tasks", number, len(TASKS))
        folder = filling.scratch / task.name
        made[task.name] = write_task(task, folder)
        name = f"{ORGANISATION}/{task.name}"
        if not _published(name):
            filling.publish("grace", name, folder, f"Publish the task {task.title}", repo_type="dataset")
    filling.step("Tasks", len(TASKS), len(TASKS))
    return made


def _specialists(filling: Filling, made: dict[str, DemoSplits]) -> None:
    """Teach and publish; each is evaluated by the worker while the next is being taught."""
    trainings = sum(len(specialist.revisions) for specialist in SPECIALISTS)
    done = 0
    for specialist in SPECIALISTS:
        name, by = filling.full_name(specialist.name), filling.owner_of(specialist)
        task_name = f"{ORGANISATION}/{specialist.task}"
        for number, revision in enumerate(specialist.revisions):
            filling.step("Specialists", done, trainings)
            done += 1
            if _commits(name) > number:
                continue
            folder = filling.scratch / f"{specialist.name}-{number}"
            train_specialist(
                specialist, revision, filling.scratch / MINILM.name, made[specialist.task], folder,
                base_name=filling.base_name, task_name=task_name,
            )  # fmt: skip
            filling.publish(by, name, folder, revision.message)
        _wait_for_inspection(name)
        for subject in (name, filling.base_name):
            _evaluate(by, subject, task_name)
    filling.step("Specialists", trainings, trainings)


def _merge(filling: Filling) -> None:
    filling.step("Merge", 0, 1)
    owner, name = "grace", f"grace/{MERGE_NAME}"
    if not Merge.objects.filter(repo__name=MERGE_NAME).exists():
        recipe = {
            "merge_method": "ties",
            "inputs": [{"adapter": filling.full_name(item), "weight": 1.0} for item in MERGED],
            "parameters": {"density": 0.5},
        }
        ask_for_merge(actor=actor_for(Account.objects.named(owner)), raw=recipe, target=name)
    _wait(lambda: _published(name), "the merge", kind="merges.merge")
    _wait_for_inspection(name)
    for specialist in SPECIALISTS:
        if specialist.name in MERGED:
            _evaluate(owner, name, f"{ORGANISATION}/{specialist.task}")
    filling.step("Merge", 1, 1)


def _proposals(filling: Filling) -> None:
    """One change request whose checks pass and one whose checks fail, waiting in the maintainer's queue."""
    filling.step("Change requests", 0, 2)
    target = filling.full_name(MERGED[1])
    repo = Repo.objects.with_id(target).get()
    for number, proposal in enumerate(proposals.PROPOSALS):
        if not ChangeRequest.objects.filter(repo=repo, title=proposal.title).exists():
            folder = proposals.write(proposal, repo, filling.scratch / f"proposal-{number}")
            filling.publish("grace" if target.startswith("ada/") else "ada", target, folder, proposal.title,
                            commit_description=proposal.description, create_pr=True)  # fmt: skip
        filling.step("Change requests", number + 1, 2)


def _system(filling: Filling) -> None:
    """A System of three specialists, one more proposed to it, and a suite of their tasks."""
    filling.step("System", 0, 1)
    named = {item.task: filling.full_name(item.name) for item in reversed(SPECIALISTS)}
    system.fill(filling.base_name, [named[task] for task in system.ACCEPTED], [named[system.WAITING]])
    filling.step("System", 1, 1)


def _evaluate(by: str, subject: str, task: str) -> None:
    ask_for_evaluation(actor=actor_for(Account.objects.named(by)), subject=subject, task=task)


def _published(name: str) -> bool:
    return Repo.objects.with_id(name).exclude(head="").exists()


def _commits(name: str) -> int:
    repo = Repo.objects.with_id(name).first()
    return repo.commits.count() if repo else 0


def _wait_for_inspection(name: str) -> None:
    repo = Repo.objects.with_id(name).get()
    _wait(lambda: repo.inspections.filter(sha=repo.head).exists(), f"the inspection of {name}", kind="adapters.inspect")


def _wait_for_jobs(filling: Filling) -> None:
    total = Job.objects.count()
    while waiting := Job.objects.exclude(state__in=ENDED).count():
        filling.step("Jobs", total - waiting, total)
        _raise_for_failed()
        time.sleep(1)
    _raise_for_failed()
    filling.step("Jobs", total, total)
    if Evaluation.objects.filter(score=None).exists():
        raise DemoFault("An evaluation has no score; look at its job.")


def _wait(done: Callable[[], bool], what: str, *, kind: str) -> None:
    for _ in _ticking():
        if done():
            return
        _raise_for_failed(kind)
    raise DemoFault(f"Waited {WAIT_SECONDS:.0f} s for {what}; is a worker running?")


def _ticking() -> Iterator[None]:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        yield
        time.sleep(0.3)


def _raise_for_failed(kind: str | None = None) -> None:
    failed = Job.objects.filter(state=State.FAILED)
    job = (failed.filter(kind=kind) if kind else failed).first()
    if job:
        raise DemoFault(f"{job.title} failed: {job.error}")
