"""Change requests whose weights are in conflict: seen in numbers, merged by rules, reviewed and merged as any other."""

import hashlib
import html
import re
from pathlib import Path

import numpy as np
import pytest
from django.test import Client
from safetensors.numpy import load

from hub.jobs.models import Job, State
from hub.repos import trees
from hub.repos.models import Repo
from hub.review import change_requests, merging
from hub.review.change_requests import open_change_request
from hub.review.models import ChangeRequest
from hub.review.refusals import MergeConflict, NotPossible
from hub.rights import Denied
from merges.running.writing import safetensors, stored
from merges.work.merging import linted
from merges.work.reconciling import as_recipe, ask_for_merge, ask_for_preview, conflict_of, measured
from merges.work.subjects import BadRequest
from tests.make_adapters import lora_tensors, write_adapter
from tests.markup import markup
from tests.people import PASSWORD, People, put
from tests.publishing import do_jobs, publish, push

MODULE = "bert.encoder.layer.0.attention.self.query"
NAME = "base_model.model.bert.encoder.layer.0.attention.self.query"
HEAD = "base_model.model.classifier.weight"
VALUE = NAME.replace("query", "value")


@pytest.fixture
def request_(people: People, tmp_path: Path) -> ChangeRequest:
    """Charlie retrained the head and query; meanwhile Bob retrained value and query."""
    repo = publish(people.bob, "sentiment", write_adapter(tmp_path / "one"))
    request = open_change_request(actor=people.actor("charlie"), repo=repo, title="Better")
    theirs = lora_tensors()
    theirs[HEAD] = theirs[HEAD] + 1
    theirs[f"{NAME}.lora_B.weight"] = theirs[f"{NAME}.lora_B.weight"] * 3
    push(people.charlie, repo, write_adapter(tmp_path / "theirs", tensors=theirs), branch=request.ref)
    ours = lora_tensors()
    ours[f"{VALUE}.lora_A.weight"] = ours[f"{VALUE}.lora_A.weight"] * 5
    ours[f"{NAME}.lora_A.weight"] = ours[f"{NAME}.lora_A.weight"] * 2
    push(people.bob, repo, write_adapter(tmp_path / "ours", tensors=ours))
    return request


def tensors_at(repo: Repo, revision: str) -> dict[str, np.ndarray]:
    return load(trees.get_file(repo, trees.resolve_commit(repo, revision), "adapter_model.safetensors").read())


def effect(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return tensors[f"{NAME}.lora_B.weight"] @ tensors[f"{NAME}.lora_A.weight"]


def test_merged_by_rules_then_merged_as_any_other(people: People, request_: ChangeRequest) -> None:
    repo, charlie = request_.repo, people.actor("charlie")
    with pytest.raises(MergeConflict):
        change_requests.merge(actor=people.actor("bob"), request=request_)
    conflict = conflict_of(request_)
    assert conflict is not None
    job = ask_for_preview(charlie, conflict)
    do_jobs()
    assert job is not None
    job.refresh_from_db()
    found = job.result["folders"][""]
    assert found["counts"] == {"same": 3, "ours": 1, "theirs": 1, "conflict": 1}
    (row,) = found["conflicts"]
    assert row["cosine"] == pytest.approx(1, abs=1e-5)
    assert row["sign_agreement"] == 1
    ask_for_merge(charlie, request_, [{"match": "*query", "strategy": "task_arithmetic", "parameters": {"lambda": 1}}])
    with pytest.raises(NotPossible, match="running already"):
        ask_for_merge(charlie, request_, [{}])
    do_jobs()
    request_.refresh_from_db()
    merged = trees.resolve_commit(repo, request_.ref)
    assert len(merged.parents) == 2
    assert "*query: task_arithmetic" in merged.message
    assert "1 tensors changed by the target only" in merged.message
    assert merging.conflicts(request_) == []
    done = change_requests.merge(actor=people.actor("bob"), request=request_)
    tensors, base = tensors_at(repo, done.sha), lora_tensors()
    assert tensors[HEAD].tobytes() == (base[HEAD] + 1).tobytes()
    assert tensors[f"{VALUE}.lora_A.weight"].tobytes() == (base[f"{VALUE}.lora_A.weight"] * 5).tobytes()
    np.testing.assert_allclose(effect(tensors), effect(base) * 4, rtol=1e-4, atol=1e-5)


def test_who_may_and_what_is_refused(people: People, request_: ChangeRequest) -> None:
    for name in ("alice", None):
        with pytest.raises(Denied):
            ask_for_merge(people.actor(name), request_, [{}])
    with pytest.raises(BadRequest, match="no strategy"):
        ask_for_merge(people.actor("charlie"), request_, [{"strategy": "hope"}])
    quiet = open_change_request(actor=people.actor("charlie"), repo=request_.repo, title="Text")
    put(people.charlie, request_.repo, {"a.txt": b"a"}, branch=quiet.ref)
    assert conflict_of(quiet) is None
    with pytest.raises(NotPossible):
        ask_for_merge(people.actor("charlie"), quiet, [{}])


def test_a_merge_of_what_moved_changes_nothing(people: People, request_: ChangeRequest) -> None:
    job = ask_for_merge(people.actor("charlie"), request_, [{}])
    put(people.bob, request_.repo, {"late.txt": b"x"})
    before = trees.resolve_commit(request_.repo, request_.ref).sha
    do_jobs()
    job.refresh_from_db()
    assert (job.state, "new commits" in job.error) == (State.FAILED, True)
    assert trees.resolve_commit(request_.repo, request_.ref).sha == before


def test_in_the_browser(people: People, request_: ChangeRequest) -> None:
    browser = Client()
    assert browser.login(username="charlie", password=PASSWORD)
    url = request_.get_absolute_url()
    assert b"being looked at" in browser.get(url).content
    do_jobs()
    page = markup(browser.get(url))
    assert "bert.encoder.layer.0.attention.self.query" in page
    answer = browser.post(
        f"{url}/tensors", {"unit:bert.encoder.layer.0.attention.self.query": "theirs", "strategy": "mean"}
    )
    job = Job.objects.get(kind="merges.threeway.merge")
    assert answer["Location"] == job.get_absolute_url()
    do_jobs()
    tensors = tensors_at(request_.repo, request_.ref)
    np.testing.assert_allclose(effect(tensors), effect(lora_tensors()) * 3, rtol=1e-5, atol=1e-6)
    refused = browser.post(f"{url}/tensors", {"strategy": "mean", "ours": "much"}, follow=True)
    assert refused.status_code == 200
    assert "No file is in conflict" in markup(refused)


def fisher_of(repo: Repo, revision: str) -> bytes:
    """Statistics as the hub measures them, of the weights at a revision."""
    file = trees.list_files(repo, trees.resolve_commit(repo, revision))["adapter_model.safetensors"]
    digest = file.blob.sha256 if file.blob else hashlib.sha256(file.data).hexdigest()
    facts = {"weights_sha256": digest, "norm": "1"}
    return safetensors({MODULE: stored(np.full((8, 8), 0.125, np.float32), "float32")}, facts)


def test_fisher_where_both_sides_have_published_statistics(people: People, request_: ChangeRequest) -> None:
    repo, charlie, rules = request_.repo, people.actor("charlie"), [{"strategy": "fisher"}]
    with pytest.raises(BadRequest, match="/merge/statistics"):
        ask_for_merge(charlie, request_, rules)
    for who, branch in ((people.charlie, request_.ref), (people.bob, "refs/heads/main")):
        put(who, repo, {"statistics/fisher.safetensors": fisher_of(repo, branch)}, branch=branch)
    conflict = conflict_of(request_)
    assert conflict is not None
    assert conflict.folders == [""]
    assert measured(conflict) == ["fisher"]
    job = ask_for_merge(charlie, request_, rules)
    do_jobs()
    job.refresh_from_db()
    assert job.state == State.SUCCEEDED, job.error
    merged = trees.resolve_commit(repo, request_.ref)
    np.testing.assert_allclose(effect(tensors_at(repo, merged.sha)), effect(lora_tensors()) * 2.5, rtol=1e-4, atol=1e-5)
    # statistics are of the weights they were measured on, so those of either side do not outlive the merge
    assert "statistics/fisher.safetensors" not in trees.flatten(repo, merged.tree)


def test_statistics_alone_in_conflict_are_taken_from_a_side(people: People, tmp_path: Path) -> None:
    repo = publish(people.bob, "measured", write_adapter(tmp_path / "one"))
    request = open_change_request(actor=people.actor("charlie"), repo=repo, title="Measured anew")
    put(people.charlie, repo, {"statistics/fisher.safetensors": fisher_of(repo, request.ref)}, branch=request.ref)
    put(people.bob, repo, {"statistics/fisher.safetensors": fisher_of(repo, "refs/heads/main")[:-2] + b"\0\0"})
    conflict = conflict_of(request)
    assert conflict is not None
    assert (conflict.folders, conflict.others) == ([], ["statistics/fisher.safetensors"])
    job = ask_for_merge(people.actor("charlie"), request, [{"match": "statistics/*", "strategy": "theirs"}])
    do_jobs()
    job.refresh_from_db()
    assert job.state == State.SUCCEEDED, job.error
    merged = trees.get_file(repo, trees.resolve_commit(repo, request.ref), "statistics/fisher.safetensors").read()
    assert merged == fisher_of(repo, request.ref)


def test_both_sides_open_as_a_recipe_pinned_to_their_commits(people: People, request_: ChangeRequest) -> None:
    do_jobs()
    conflict = conflict_of(request_)
    assert conflict is not None
    browser = Client()
    assert browser.login(username="charlie", password=PASSWORD)
    browser.get(request_.get_absolute_url())
    do_jobs()
    page = markup(browser.get(request_.get_absolute_url()))
    link = html.unescape(re.search(r'href="(/merge/recipe\?recipe=[^"]+)"', page)[1])  # type: ignore[index]
    editor = markup(browser.get(link))
    for side in (conflict.ours, conflict.theirs):
        assert side.sha in editor
    assert linted(people.actor("charlie"), as_recipe(conflict))["ok"]
