"""Something of everything that belongs to Alice alone, so that tests can ask who else sees it.

Whatever is hers and private has `secret` in its name: no answer to anybody else may hold that word.
"""

from dataclasses import dataclass
from pathlib import Path

from rest_framework.test import APIClient

from adapters.models import Lineage
from hub.accounts.actor import Actor, actor_for
from hub.accounts.models import Account, Scope, Token
from hub.accounts.tokens import create_token
from hub.collections import keeping
from hub.collections.models import Item
from hub.jobs.models import Job, State
from hub.jobs.queue import enqueue
from hub.repos import lifecycle, uploading
from hub.repos.models import AccessRequest, Kind, Repo
from hub.review import change_requests
from hub.review.models import AutoRule, CannedReply, ChangeRequest, Comment
from hub.store.blobs import store_bytes
from hub.store.models import Upload
from merges.evaluation.items import to_parquet
from merges.models import Evaluation, Merge, MergeComparison, Suite, SuiteEntry, Teaching
from merges.systems.releases import create_system
from merges.training.settings import Settings
from merges.work.evaluating import ask_for_evaluation
from merges.work.merging import ask_for_merge
from tests.make_adapters import TASK_CARD, lora_tensors, write_adapter, write_base
from tests.people import PASSWORD, People, put
from tests.publishing import publish

ORIGINAL = "secret-lora"


@dataclass
class World:
    """Alice's things."""

    base: Repo
    adapter: Repo
    task: Repo
    merge: Merge
    evaluation: Evaluation
    teaching: Teaching
    judged: Evaluation
    job: Job
    request: ChangeRequest
    task_request: ChangeRequest
    comment: Comment
    task_comment: Comment
    upload: Upload
    task_upload: Upload
    token: Token
    comparison: MergeComparison
    rule: AutoRule
    reply: CannedReply
    collected: Item


def make_world(people: People, folder: Path) -> World:
    """A public base; Alice's private adapter and task, with a merge, an evaluation, change requests and uploads."""
    alice = actor_for(people.alice)
    base = publish(people.acme, "tiny-bert", write_base(folder / "base"), by=people.alice)
    adapter = publish(people.alice, ORIGINAL, write_adapter(folder / "one"), private=True)
    publish(people.alice, "secret-other", write_adapter(folder / "two", tensors=lora_tensors(seed=7)), private=True)
    task = publish(people.alice, "secret-task", write_task(folder / "task"), kind=Kind.TASK, private=True)
    recipe = {"merge_method": "mean", "inputs": ["alice/secret-lora", "alice/secret-other"]}
    merge = ask_for_merge(actor=alice, raw=recipe, target="alice/secret-merge")
    evaluation = ask_for_evaluation(actor=alice, subject="alice/secret-lora", task="alice/secret-task")
    judged = _judged(adapter, task, base)
    create_system(actor=alice, owner=people.alice, name="secret-system", base="acme/tiny-bert", private=True)
    lifecycle.create_branch(actor=alice, repo=adapter, name="secret-branch")
    lifecycle.create_tag(actor=alice, repo=adapter, name="secret-tag")
    lifecycle.create_branch(actor=alice, repo=task, name="secret-branch")
    lifecycle.create_tag(actor=alice, repo=task, name="secret-tag")
    (request, comment), (task_request, task_comment) = (_proposal(people.alice, repo) for repo in (adapter, task))
    uploads = [
        uploading.plan(actor=alice, repo=repo, path="secret.safetensors", size=9, sha256=digit * 64).upload
        for repo, digit in ((adapter, "a"), (task, "b"))
    ]
    Lineage.objects.create(child=adapter, child_sha=adapter.head, parent=task, parent_sha=task.head, relation="task")
    comparison = _comparison(people.alice, [adapter, task, base])
    teaching = Teaching.objects.create(
        owner=people.alice, repo=adapter, task=task, task_sha=task.head, base=base, base_sha=base.head, examples=12,
        settings=Settings().to_dict(), start={"asked": "auto"}, result_sha=adapter.head,
        job=enqueue("merges.teach", title="Teach secret", arguments={}, owner=people.alice, repo=adapter),
    )  # fmt: skip
    for repo in (adapter, task):
        AccessRequest.objects.create(repo=repo, account=people.alice)
    token, _text = create_token(account=people.alice, label="secret token", scope=Scope.READ)
    return World(
        base=base, adapter=adapter, task=task, merge=merge, evaluation=evaluation, teaching=teaching, judged=judged,
        job=merge.job,
        request=request, task_request=task_request, comment=comment, task_comment=task_comment,
        upload=Upload.objects.get(pk=uploads[0]), task_upload=Upload.objects.get(pk=uploads[1]), token=token,
        comparison=comparison,
        rule=AutoRule.objects.create(name="Words", owner=people.mary),
        collected=_collected(alice, people.alice, adapter),
        reply=CannedReply.objects.create(group="Cards", title="Words", text="More words, please."),
    )  # fmt: skip


def _collected(actor: Actor, owner: Account, repo: Repo) -> Item:
    """A private collection of hers, with a private repo in it."""
    row = keeping.create(actor=actor, owner=owner, title="secret things", private=True)
    return keeping.add(actor=actor, row=row, repo=repo, note="secret note")[0]


def _comparison(owner: Account, rests_on: list[Repo]) -> MergeComparison:
    """A comparison that has ended, of adapters of hers."""
    job = Job.objects.create(kind="merges.compare", title="Compare secret ways", owner=owner, state=State.CANCELLED)
    inputs = [{"adapter": name, "revision": "main"} for name in ("alice/secret-lora", "alice/secret-other")]
    recipe = {"merge_method": "mean", "inputs": [{"adapter": entry["adapter"]} for entry in inputs]}
    geometry = {"cosines": [[1.0, 0.0], [0.0, 1.0]], "norm": 1.0, "largest_rank": 2, "error": 0.0}
    row = MergeComparison.objects.create(
        owner=owner, job=job, order={"inputs": inputs, "tasks": [], "methods": ["mean"]},
        report={"winner": "mean", "methods": [{"name": "mean", "recipe": recipe, "trials": [], "geometry": geometry}],
                "rows": [], "inputs": [entry["adapter"] for entry in inputs]},
    )  # fmt: skip
    row.rests_on.set(rests_on)
    return row


def _judged(adapter: Repo, task: Repo, base: Repo) -> Evaluation:
    """An evaluation that was done, with its items, and a suite whose task has become private since."""
    suite = Suite.objects.create(name="open", title="Open")
    SuiteEntry.objects.create(suite=suite, task=task, task_sha=task.head)
    item = {"row": 0, "text": "secret", "expected": "positive", "predicted": "neutral", "right": False, "score": -0.1}
    return Evaluation.objects.create(
        subject=adapter, subject_sha=adapter.head, task=task, task_sha=task.head, base=base, seed=1, score=0.5, n=12,
        standard_error=0.1, low=0.3, high=0.7, items=store_bytes(to_parquet([item])), scores={"values": {"accuracy": 0.5}},
    )  # fmt: skip


def write_task(folder: Path) -> Path:
    """A small task with train and test rows."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(TASK_CARD)
    for split in ("train", "test"):
        rows = [f'{{"text": "{split} secret {n}", "label": "{label}"}}' for n, label in
                enumerate(("positive", "negative", "neutral") * 4)]  # fmt: skip
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def _proposal(author: Account, repo: Repo) -> tuple[ChangeRequest, Comment]:
    request = change_requests.open_change_request(
        actor=actor_for(author), repo=repo, title="A secret change", description="secret words"
    )
    put(author, repo, {"secret.md": b"secret text\n"}, branch=request.ref)
    return request, request.comments.get(kind=Comment.Kind.COMMENT)


def client(account: Account | None = None, scope: str = Scope.WRITE) -> APIClient:
    """A program with a token of this person, or nobody."""
    made = APIClient()
    if account is not None:
        _row, text = create_token(account=account, label="test", scope=scope)
        made.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return made


def browser(account: Account) -> APIClient:
    """A signed-in browser session; CSRF is enforced."""
    made = APIClient(enforce_csrf_checks=True)
    assert made.login(username=account.name, password=PASSWORD)
    made.get("/accounts/login/")
    made.cookies["csrftoken"] = "a" * 32
    made.credentials(HTTP_X_CSRFTOKEN="a" * 32)
    return made


__all__ = ["World", "browser", "client", "make_world", "write_task"]
