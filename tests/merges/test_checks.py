"""Automatic checks of proposals, on real files and a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from safetensors.torch import load_file, save_file

from adapters.formats import licences
from hub.accounts.actor import actor_for
from hub.accounts.models import Account
from hub.jobs import working
from hub.jobs.models import Job, State
from hub.repos.changes import OnDisk, Put
from hub.repos.models import Repo
from hub.review import change_requests
from hub.review.models import ChangeRequest, Check
from merges.models import Evaluation
from merges.training.settings import Settings
from merges.training.teach import teach
from merges.work import proposed
from tests.merges.conftest import ADAPTER_CARD
from tests.people import People, put
from tests.publishing import do_jobs, publish, push
from tests.pure.tiny_models import opinions


def propose(by: Account, repo: Repo, folder: Path, title: str = "Another revision") -> ChangeRequest:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    request, _commit = change_requests.propose(
        actor=actor_for(by), repo=repo, changes_=[Put(path.name, OnDisk(path)) for path in files], title=title
    )
    do_jobs()
    return request


def verdicts(request: ChangeRequest) -> dict[str, str]:
    sha = request.repo.refs.get(name=request.ref).target
    return dict(Check.objects.filter(repo=request.repo, sha=sha).values_list("name", "verdict"))


def found(request: ChangeRequest, name: str) -> Check:
    sha = request.repo.refs.get(name=request.ref).target
    return Check.objects.get(repo=request.repo, sha=sha, name=name)


def scaled(source: Path, target: Path, factor: float) -> Path:
    """The adapter with its head turned around (factor -1: every answer wrong) or as it was."""
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    weights = load_file(source / "adapter_model.safetensors")
    save_file({name: tensor * (factor if "classifier" in name else 1) for name, tensor in weights.items()},
              target / "adapter_model.safetensors", metadata={"format": "pt"})  # fmt: skip
    return target


def test_a_sound_proposal_passes_and_a_worse_one_is_held(people: People, lab: dict[str, Repo], tmp_path: Path) -> None:
    repo, strong = lab["adapter-moods"], tmp_path / "strong"
    teach(
        tmp_path / "tiny",
        opinions(48),
        Settings(epochs=8, batch_size=8, learning_rate=1e-2),
        strong,
        base_name="acme/tiny",
    )
    (strong / "README.md").write_text(ADAPTER_CARD.format(task="moods"))
    push(people.bob, repo, strong)
    repo.refresh_from_db()
    request = propose(people.alice, repo, scaled(strong, tmp_path / "worse", -1.0))
    seen = verdicts(request)
    assert {name: seen[name] for name in ("valid", "safe", "licence", "overlap", "near_duplicate", "no_regression")} == {
        "valid": "pass", "safe": "pass", "licence": "warn", "overlap": "fail", "near_duplicate": "pass",
        "no_regression": "fail",
    }, "the lab's tiny tasks share texts between train and test"  # fmt: skip
    details = found(request, "no_regression").details["tasks"][0]
    assert details["after"] < details["before"] and details["p"] < 0.05
    assert Evaluation.objects.get(pk=details["evaluation"]).subject == repo
    request.refresh_from_db()
    assert request.two_people and request.risk == 2
    jobs, evaluations = Job.objects.count(), Evaluation.objects.count()
    put(
        people.alice,
        repo,
        {"README.md": ADAPTER_CARD.format(task="moods").encode() + b"\nMore words.\n"},
        branch=request.ref,
    )
    do_jobs()
    assert Job.objects.count() > jobs
    row = Evaluation.objects.latest("pk")
    assert (Evaluation.objects.count(), row.job) == (evaluations + 1, None), (
        "words change no score: copied, not computed"
    )


def test_copies_claims_and_licences(people: People, lab: dict[str, Repo], tmp_path: Path) -> None:
    repo = lab["adapter-moods"]
    folder = tmp_path / "copy"
    teach(tmp_path / "tiny", opinions(48), Settings(epochs=4, seed=1), folder, base_name="acme/tiny")
    card = {"base_model": "acme/tiny", "license": "cc-by-nc-4.0", "datasets": ["acme/moods"], "model-index": [{"results": [
        {"dataset": {"type": "acme/moods"}, "metrics": [{"type": "accuracy", "value": 0.05}]}]}]}  # fmt: skip
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    Repo.objects.filter(pk=lab["base"].pk).update(card={"license": "cc-by-nd-4.0"})
    request = propose(people.alice, repo, folder)
    assert found(request, "claims").verdict == "fail"
    assert "claims 0.050" in found(request, "claims").summary
    assert "allows nothing to be made" in found(request, "licence").summary
    same = propose(people.alice, repo, tmp_path / "adapter-tastes")
    assert found(same, "near_duplicate").verdict == "fail"
    assert "byte for byte those of bob/adapter-tastes" in found(same, "near_duplicate").summary
    near = scaled(tmp_path / "adapter-tastes", tmp_path / "near", 2.0)
    request = propose(people.alice, lab["adapter-moods"], near)
    assert found(request, "near_duplicate").details["nearest"][0] == [
        "bob/adapter-tastes",
        pytest.approx(1.0, abs=1e-3),
    ]
    Repo.objects.filter(pk=lab["adapter-tastes"].pk).update(private=True)
    request = propose(people.alice, lab["adapter-moods"], near)
    assert found(request, "near_duplicate").verdict == "pass"
    assert "tastes" not in json.dumps(found(request, "near_duplicate").details)


@pytest.mark.django_db(transaction=True)
def test_a_worker_holds_no_transaction_around_its_checks(people: People, lab: dict[str, Repo], tmp_path: Path) -> None:
    request = propose(people.alice, lab["adapter-moods"], scaled(tmp_path / "adapter-moods", tmp_path / "new", -1.0))
    assert {"no_regression", "near_duplicate", "overlap"} <= set(verdicts(request))
    assert "could not be made" not in " ".join(Check.objects.values_list("summary", flat=True))


def test_weights_that_are_no_numbers_fail_one_check_and_no_job(
    people: People, lab: dict[str, Repo], tmp_path: Path
) -> None:
    broken = scaled(tmp_path / "adapter-moods", tmp_path / "broken", 1.0)
    weights = load_file(broken / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    weights[name][0] = float("nan")
    save_file(weights, broken / "adapter_model.safetensors", metadata={"format": "pt"})
    request = propose(people.alice, lab["adapter-moods"], broken)
    assert not Job.objects.exclude(state=State.SUCCEEDED).values_list("kind", "error")
    assert found(request, "safe").verdict == "fail"
    assert found(request, "near_duplicate").verdict == "warn"
    assert "NaN or infinite" in found(request, "near_duplicate").summary
    assert "not evaluated" in found(request, "no_regression").summary
    assert not Evaluation.objects.filter(score=None).exists()


def test_poison_ends_as_a_failed_check_and_holds_up_nobody(
    people: People, lab: dict[str, Repo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(_proposed: Any) -> None:
        raise RuntimeError("boom")

    from merges.work import checks as _registered  # noqa: F401

    monkeypatch.setitem(proposed._checks, "licence", (("adapter",), poison))
    request = propose(people.alice, lab["adapter-moods"], scaled(tmp_path / "adapter-moods", tmp_path / "same", 1.5))
    job = Job.objects.get(kind="merges.check")
    assert (job.state, job.attempt) == (State.SUCCEEDED, 3)
    assert "could not be made, 3 times" in found(request, "licence").summary
    assert verdicts(request)["no_regression"] == "pass"
    # a worker lost three times says so too
    repo = lab["adapter-moods"]
    Job.objects.filter(kind="merges.check").delete()
    request = change_requests.open_change_request(actor=people.actor("alice"), repo=repo, title="t")
    put(people.alice, repo, {"README.md": b"# x\n"}, branch=request.ref)
    Job.objects.filter(kind="merges.check").update(
        state=State.RUNNING, attempt=3, lease_until=timezone.now() - timezone.timedelta(minutes=1)
    )
    assert working.reap() == 1
    assert found(request, "checks").verdict == "fail"
    assert "lost 3 times" in found(request, "checks").summary
    # and tasks are checked like adapters
    Job.objects.filter(state=State.FAILED).delete()
    request = change_requests.open_change_request(actor=people.actor("bob"), repo=lab["moods"], title="t")
    put(people.bob, lab["moods"], {"train.jsonl": b'{"text": "a", "label": "perhaps"}\n'}, branch=request.ref)
    do_jobs()
    assert verdicts(request)["valid"] == "fail"
    folder = publish(people.charlie, "plain", tmp_path / "adapter-moods")
    assert not Job.objects.filter(kind="merges.check", repo=folder).exists(), "only proposals are checked"


@pytest.mark.parametrize(("own", "theirs", "data", "verdict"), [
    ("mit", "apache-2.0", False, "pass"), ("", "mit", False, "warn"), ("mit", "", False, "warn"),
    ("mit", "gpl-3.0", False, "fail"), ("gpl-3.0", "agpl-3.0", False, "pass"), ("mit", "cc-by-sa-4.0", True, "warn"),
    ("apache-2.0", "cc-by-nc-4.0", True, "fail"), ("cc-by-nc-4.0", "cc-by-nc-4.0", True, "pass"),
    ("mit", "cc-by-nd-4.0", False, "fail"), ("mit", "llama3", False, "warn"), ("mit", "homemade", False, "warn"),
])  # fmt: skip
def test_licences(own: str, theirs: str, data: bool, verdict: str) -> None:
    assert licences.judge(own, [licences.Source("a/b", theirs, data)])[0] == verdict
