"""A maintained generalist: attached by a proposal, merged and judged anew at each release, shown on the System's page."""

from pathlib import Path

import pytest
from django.test import Client

from hub.accounts.actor import actor_for
from hub.jobs.models import Job, State
from hub.repos.models import Repo
from merges.models import Evaluation, Merge, Release
from merges.recipes import RecipeError
from merges.systems import releases
from merges.systems.manifest import BadManifest
from merges.work.subjects import BadRequest
from tests.markup import markup
from tests.merges.test_systems import approve, shop
from tests.people import People
from tests.publishing import do_jobs
from tests.world import client

assert shop  # the fixture
RECIPE = {"merge_method": "mean"}


def test_it_is_merged_and_judged_at_each_release(people: People, shop: dict[str, Repo], tmp_path: Path) -> None:
    alice = actor_for(people.alice)
    system = releases.create_system(actor=alice, owner=people.acme, name="desk", base="acme/tiny")
    do_jobs()
    with pytest.raises(BadManifest, match="owner/name"):
        releases.propose_generalist(actor=alice, system=system, recipe=RECIPE, target="somewhere")
    who = client(people.charlie)
    body = {"generalist": {"recipe": RECIPE, "target": "acme/all-in-one"}}
    made = who.post("/api/v1/systems/acme/desk/proposals", body, format="json")
    assert made.status_code == 201, made.content
    do_jobs()
    approve(people, system.change_requests.get(number=made.json()["number"]))
    second = Release.objects.get(system=system, number=2)
    assert second.state == "released" and "A generalist is kept in acme/all-in-one." in second.changelog
    assert "before the System has 2" in second.scores["generalist"]["error"]

    for task in ("moods", "colours"):
        system.refresh_from_db()
        approve(people, releases.propose_member(actor=alice, system=system, adapter=f"bob/lora-{task}"))
    latest = Release.objects.get(system=system, number=4)
    assert latest.state == "released"
    assert not Job.objects.filter(state=State.FAILED).values_list("kind", "error")
    scores = latest.scores["generalist"]
    assert {line["task"] for line in scores["tasks"]} == {"acme/moods", "acme/colours"}
    assert scores["score"] == pytest.approx(sum(line["score"] for line in scores["tasks"]) / 2)
    assert latest.generalist is not None and scores["sha"] == latest.generalist.result_sha
    assert latest.generalist.owner == people.alice, "in the name of who administers Acme, though Mary approved"
    assert Evaluation.objects.filter(subject__name="all-in-one").count() == 2
    page = markup(Client().get("/acme/desk"))
    assert "acme/all-in-one" in page and f"{scores['score']:.3f}" in page and "Generalist" in page
    shown = who.get("/api/v1/systems/acme/desk").json()["current"]
    assert shown["scores"]["generalist"]["score"] == scores["score"]

    system.refresh_from_db()
    # the same members again: merged again, nothing judged twice, and a retried job changes nothing
    merges, judged = Merge.objects.count(), Evaluation.objects.exclude(score=None).count()
    releases.roll_back(actor=alice, release=Release.objects.get(system=system, number=3))
    releases.roll_back(actor=alice, release=latest)
    do_jobs()
    again = Release.objects.latest("number")
    assert again.scores["generalist"]["score"] == scores["score"]
    assert Merge.objects.count() == merges + 1
    fresh = Evaluation.objects.exclude(score=None).order_by("-pk")[: Evaluation.objects.count() - judged]
    assert all(row.job is None for row in fresh)

    for target, sentence in (("bob/lora-moods", "who owns the System"), ("acme/tiny", "something else")):
        with pytest.raises(BadRequest, match=sentence):
            releases.propose_generalist(actor=alice, system=system, recipe=RECIPE, target=target)
    with pytest.raises(RecipeError):
        releases.propose_generalist(actor=alice, system=system, recipe={"merge_method": "none"}, target="acme/x")
    system.refresh_from_db()
    taken = releases.propose_generalist(actor=alice, system=system, recipe=None)
    do_jobs()
    approve(people, taken)
    last = Release.objects.latest("number")
    assert "No generalist is kept any more." in last.changelog and "generalist" not in last.scores
