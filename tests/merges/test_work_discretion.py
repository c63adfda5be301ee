"""A merge's files, card, commit, job and report name nothing that one of their readers may not read."""

import json

import pytest

from adapters.models import Lineage, Relation
from hub.accounts.actor import Actor, actor_for
from hub.jobs.models import Job, State
from hub.repos import trees
from hub.repos.models import Commit, Kind, Repo
from hub.rights import Verb, can
from merges.models import Release
from merges.recipes import fingerprint, parse
from merges.work.discretion import named_when_public
from merges.work.evaluating import ask_for_evaluation
from merges.work.measuring import ask_for_statistics
from merges.work.merging import ask_for_merge
from merges.work.showing import recipe_for, report_for
from tests.merges.test_work_lab import ended
from tests.merges.test_work_merging import recipe
from tests.people import People, make_repo
from tests.publishing import do_jobs


def words_of(repo: Repo) -> str:
    """Everything a reader of the repo can read in it: paths, texts, the commit's message, the job's notes."""
    repo.refresh_from_db()
    files = trees.list_files(repo, trees.resolve_commit(repo))
    texts = [path + file.read().decode(errors="replace") for path, file in files.items()]
    messages = Commit.objects.filter(repo=repo).values_list("title", "message")
    jobs = Job.objects.filter(repo=repo).values_list("title", "note", "error", "result")
    return "\n".join([*texts, *map(str, messages), *map(str, jobs)])


def test_a_public_merge_does_not_name_the_private_task_it_was_tuned_on(people: People, lab: dict[str, Repo]) -> None:
    Repo.objects.filter(name="moods").update(private=True)
    raw = recipe("task_arithmetic", select={"tasks": ["acme/moods"], "split": "train", "grid": {"lambda": [0.1, 1.0]}})
    merge = ask_for_merge(actor=actor_for(people.alice), raw=raw, target="alice/tuned")
    ended(merge.job)
    merge.refresh_from_db()
    charlie = actor_for(people.charlie)
    assert can(charlie, Verb.READ, merge.repo)
    said = words_of(merge.repo)
    assert "acme/moods" not in said
    files = trees.list_files(merge.repo, trees.resolve_commit(merge.repo))
    written = parse(files["recipe.yaml"].read().decode())
    assert written.select is not None and written.select.tasks == ("private-1",)
    assert [entry.adapter for entry in written.inputs] == ["bob/adapter-moods", "bob/adapter-tastes"]
    assert all(entry.revision for entry in written.inputs)
    assert json.loads(files["merge_report.json"].read())["fingerprint"] == fingerprint(written)
    assert "acme/moods" in str(recipe_for(actor_for(people.alice), merge))
    assert "acme/moods" in str(report_for(actor_for(people.alice), merge)["recipe"])
    assert "acme/moods" not in f"{recipe_for(charlie, merge)}{report_for(charlie, merge)}"


def test_an_input_private_to_one_person_has_no_name_in_a_team_s_result(people: People, lab: dict[str, Repo]) -> None:
    Repo.objects.filter(name="adapter-moods").update(private=True)
    bob = actor_for(people.bob)
    merge = ask_for_merge(actor=bob, raw=recipe("task_arithmetic"), target="acme/both")
    ended(merge.job)
    merge.refresh_from_db()
    assert can(actor_for(people.alice), Verb.READ, merge.repo)
    said = words_of(merge.repo)
    assert "adapter-moods" not in said
    assert "bob/adapter-tastes" in said, "what alice may read is named"
    files = trees.list_files(merge.repo, trees.resolve_commit(merge.repo))
    report = json.loads(files["merge_report.json"].read())
    assert [line["adapter"] for line in report["inputs"]] == ["private-1", "bob/adapter-tastes"]
    assert (report["inputs"][0]["sha256"], report["inputs"][0]["revision"]) == (None, None)
    assert {"heads/private-1.safetensors", "heads/bob--adapter-tastes.safetensors"} <= set(files)
    assert "adapter-moods" in str(report_for(bob, merge))
    assert "adapter-moods" not in str(report_for(actor_for(people.alice), merge))
    row = ask_for_evaluation(actor=bob, subject="acme/both", task="acme/moods")
    do_jobs()
    row.refresh_from_db()
    assert row.score is not None, "its head is found all the same"


def test_one_s_own_private_result_names_one_s_own_private_inputs(people: People, lab: dict[str, Repo]) -> None:
    Repo.objects.filter(name="adapter-moods").update(private=True)
    merge = ask_for_merge(actor=actor_for(people.bob), raw=recipe("task_arithmetic"), target="bob/both")
    ended(merge.job)
    assert "bob/adapter-moods" in words_of(merge.repo)
    assert not can(actor_for(people.charlie), Verb.READ, merge.repo)
    told = named_when_public(actor_for(people.bob), merge.repo)
    assert [repo.full_name for repo in told] == ["bob/adapter-moods"]


def test_a_recipe_tells_names_that_no_line_of_lineage_holds(people: People, lab: dict[str, Repo]) -> None:
    Repo.objects.filter(name__in=("moods", "tiny")).update(private=True)
    raw = recipe("task_arithmetic", select={"tasks": ["acme/moods"], "split": "train", "grid": {"lambda": [0.1, 1.0]}})
    merge = ask_for_merge(actor=actor_for(people.alice), raw=raw, target="acme/tuned", private=True)
    alice = actor_for(people.alice)
    assert named_when_public(alice, merge.repo) == [], "it has not run: its files are still to be written"
    ended(merge.job)
    merge.repo.refresh_from_db()
    assert "acme/moods" in words_of(merge.repo)
    assert [repo.full_name for repo in named_when_public(alice, merge.repo)] == ["acme/moods", "acme/tiny"]


def test_a_system_tells_what_its_releases_pin(people: People) -> None:
    names = [("base", Kind.BASE), ("speaker", Kind.ADAPTER), ("moods", Kind.TASK)]
    pins = {}
    for name, kind in names:
        repo = make_repo(people.alice, name, kind=kind, private=True)
        pins[name] = {"repo": repo.full_name, "sha": "a" * 40}
    make_repo(people.alice, "moods", private=True)  # a model of the task's name, which nothing pins
    system = make_repo(people.alice, "desk", kind=Kind.SYSTEM, private=True)
    manifest = {"base": pins["base"], "members": [{"adapter": pins["speaker"], "task": pins["moods"]}]}
    Release.objects.create(system=system, number=1, sha="b" * 40, manifest=manifest)
    told = [(repo.name, repo.kind) for repo in named_when_public(people.actor("alice"), system)]
    assert sorted(told) == sorted(names)


def test_what_everybody_may_know_and_what_one_may_not_read_is_not_listed(people: People) -> None:
    """Alice's private repo was made, over its commits, from things of every kind of openness."""
    repo = make_repo(people.acme, "made", by=people.alice, private=True)
    open_ = {name: make_repo(people.bob, name) for name in ("plain", "gated", "quarantined", "yanked")}
    Repo.objects.filter(name="gated").update(gated="manual")
    for name in ("quarantined", "yanked"):
        Repo.objects.filter(name=name).update(standing=name, standing_reason="Broken.")
    hers = make_repo(people.acme, "hers", by=people.alice, kind=Kind.TASK, private=True)
    his = make_repo(people.bob, "his", private=True)
    for number, parent in enumerate([*open_.values(), hers, his, repo]):
        Lineage.objects.create(child=repo, child_sha=f"{number:040x}", parent=parent, relation=Relation.MERGE_OF)

    def told(actor: Actor) -> list[str]:
        return [row.full_name for row in named_when_public(actor, repo)]

    assert told(people.actor("alice")) == ["acme/hers"], "bob's private one is nothing she may read"
    assert told(people.actor("bob")) == ["acme/hers", "bob/his", "bob/quarantined"]
    repo.facts = {"base": "bob/his"}
    assert told(people.actor("alice")) == ["acme/hers", "bob/his"], "the page itself names the base"


@pytest.mark.parametrize("gone", [True, False])
def test_why_a_merge_failed_is_said_without_private_names(people: People, lab: dict[str, Repo], gone: bool) -> None:
    raw = recipe("task_arithmetic", select={"tasks": ["acme/moods"], "split": "train", "grid": {"lambda": [0.1, 1.0]}})
    Repo.objects.filter(name="moods").update(private=True)
    merge = ask_for_merge(actor=actor_for(people.bob), raw=raw, target="bob/tuned")
    if gone:
        Repo.objects.filter(name="moods").delete()
    else:
        Repo.objects.filter(name="moods").update(owner=people.charlie)
    ended(merge.job, State.FAILED)
    assert "no longer there" in merge.job.error
    assert "acme/moods" not in words_of_failed(merge.repo)


def test_statistics_do_not_name_the_private_task_they_were_measured_on(people: People, lab: dict[str, Repo]) -> None:
    Repo.objects.filter(name="moods").update(private=True)
    bob, adapter = actor_for(people.bob), lab["adapter-moods"]
    ended(ask_for_statistics(actor=bob, adapter="bob/adapter-moods", task="acme/moods", examples=8))
    before = words_of(adapter)
    assert "on private-1" in before
    job = ask_for_statistics(actor=bob, adapter="bob/adapter-moods", task="acme/moods", examples=8)
    Repo.objects.filter(name="moods").delete()
    ended(job, State.FAILED)
    assert "private-1" in job.error
    card = "datasets: [acme/moods]"
    assert words_of(adapter).replace(card, "").count("acme/moods") == 0, "its own card alone names it, by its author"


def words_of_failed(repo: Repo) -> str:
    return str(list(Job.objects.filter(repo=repo).values_list("title", "note", "error", "result")))


def test_a_private_base_makes_a_private_result(people: People, lab: dict[str, Repo]) -> None:
    Repo.objects.filter(name="tiny").update(private=True)
    raw = recipe("task_arithmetic", base="acme/tiny", output={"form": "checkpoint"})
    merge = ask_for_merge(actor=actor_for(people.alice), raw=raw, target="alice/whole", private=False)
    assert merge.repo.private
    ended(merge.job)
    merge.repo.refresh_from_db()
    files = trees.list_files(merge.repo, trees.resolve_commit(merge.repo))
    said = files["recipe.yaml"].read() + files["README.md"].read() + files["merge_report.json"].read()
    assert b"acme/tiny" not in said, "who may read what is alice's need not be of her team"
