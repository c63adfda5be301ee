"""A System from its first commit to a rollback, on a tiny base, through review like everything else."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.actor import actor_for
from hub.repos.models import Kind, Repo
from hub.review import decisions
from hub.review.models import ChangeRequest, Check
from hub.rights import Denied
from merges.models import Release
from merges.systems import manifest, releases, routed
from merges.systems.manifest import BadManifest, Manifest, Member, Pin
from merges.training.settings import Settings
from merges.training.teach import teach
from merges.work.subjects import BadRequest
from tests.markup import markup
from tests.merges.conftest import ADAPTER_CARD, TASK_CARD
from tests.merges.test_checks import scaled
from tests.people import PASSWORD, People, put
from tests.publishing import do_jobs, publish, push
from tests.pure.tiny_models import opinions, write_encoder
from tests.world import client

SHA = "a" * 40


def colours(count: int, start: int = 0) -> list[dict[str, str]]:
    words = [("red", "warm"), ("blue", "cold")]
    return [
        {"text": f"Label : {words[i % 2][0]} {('yes', 'no', 'green')[i // 2 % 3]} slow", "label": words[i % 2][1]}
        for i in range(start, start + count)
    ]


@pytest.fixture
def shop(people: People, tmp_path: Path) -> dict[str, Repo]:
    """A tiny base, two unlike tasks, and a specialist for each."""
    base = write_encoder(tmp_path / "tiny")
    repos = {"base": publish(people.acme, "tiny", base, by=people.alice)}
    moods = [{"text": row.text, "label": row.label} for row in opinions(96)]
    rows = {"moods": (moods[:48], moods[48:]), "colours": (colours(48), colours(40, 48))}
    cards = {"moods": TASK_CARD, "colours": TASK_CARD.replace("[no, yes]", "[warm, cold]")}
    for name, splits in rows.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "README.md").write_text(cards[name])
        for split, lines in zip(("train", "test"), splits, strict=True):
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        repos[name] = publish(people.acme, name, folder, by=people.alice, kind=Kind.TASK)
        from adapters.runtime.examples import examples_of

        lora = tmp_path / f"lora-{name}"
        teach(
            base,
            examples_of(splits[0]),
            Settings(epochs=6, batch_size=8, learning_rate=1e-2),
            lora,
            base_name="acme/tiny",
        )
        (lora / "README.md").write_text(ADAPTER_CARD.format(task=name))
        repos[f"lora-{name}"] = publish(people.bob, f"lora-{name}", lora)
    return repos


def approve(people: People, request: ChangeRequest) -> None:
    request.refresh_from_db()
    sha = request.repo.refs.get(name=request.ref).target
    decisions.decide(actor=people.actor("mary"), request=request, verdict="approve", sha=sha)
    do_jobs()


def test_a_system_grows_by_accepted_contributions(people: People, shop: dict[str, Repo], tmp_path: Path) -> None:
    alice, bob = actor_for(people.alice), actor_for(people.bob)
    system = releases.create_system(actor=alice, owner=people.acme, name="desk", base="acme/tiny")
    do_jobs()
    assert Release.objects.get(system=system).state == "released"
    for number, task in enumerate(("moods", "colours"), start=2):
        request = releases.propose_member(actor=actor_for(people.charlie), system=system, adapter=f"bob/lora-{task}")
        do_jobs()
        sha = request.repo.refs.get(name=request.ref).target
        checks = dict(Check.objects.filter(repo=system, sha=sha).values_list("name", "verdict"))
        assert checks["manifest"] == checks["system_scores"] == "pass", list(
            Check.objects.filter(repo=system, sha=sha).values_list("summary")
        )
        assert "system" in set(request.reasons.values_list("reason", flat=True))
        with pytest.raises(Denied):  # Alice's organisation owns the System
            decisions.decide(actor=alice, request=request, verdict="approve", sha=sha)
        approve(people, request)
        system.refresh_from_db()
        release = Release.objects.get(system=system, number=number)
        assert (release.state, release.sha) == ("released", system.head), release.held_because
        assert system.refs.filter(name=f"refs/tags/v{number}", target=release.sha).exists()
        assert f"Added bob/lora-{task}" in release.changelog
    tasks = {row["task"]: row for row in release.scores["tasks"]}
    assert set(tasks) == {"acme/moods", "acme/colours"}
    assert all(row["routed"] > 0.9 and row["score"] > 0.8 and row["n"] == len(row["right"]) for row in tasks.values())
    assert release.score == pytest.approx(sum(row["score"] for row in tasks.values()) / 2)
    assert people.bob.notices.filter(kind="release").count() == 2

    # a worse revision is seen by the check, and held even if it gets in
    push(people.bob, shop["lora-moods"], scaled(tmp_path / "lora-moods", tmp_path / "worse", -1.0))
    request = releases.propose_member(actor=bob, system=system, adapter="bob/lora-moods")
    do_jobs()
    check = Check.objects.get(repo=system, name="system_scores", sha=request.repo.refs.get(name=request.ref).target)
    assert check.verdict == "fail" and "acme/moods falls from" in check.summary
    approve(people, request)
    held = Release.objects.get(system=system, number=4)
    assert held.state == "held" and "acme/moods falls" in held.held_because
    assert releases.current(system) == release
    with pytest.raises(Denied):
        releases.release_anyway(actor=bob, release=held, reason="please")
    released = releases.release_anyway(actor=alice, release=held, reason="We know.")
    assert releases.current(system) == released

    # back to what was good
    system.refresh_from_db()
    back = releases.roll_back(actor=alice, release=release)
    assert (back.number, back.state, back.rolls_back_to, back.score) == (5, "released", release, release.score)
    assert releases.current(system) == back
    assert back.manifest == release.manifest
    with pytest.raises(releases.NotReleasable):
        releases.roll_back(actor=alice, release=back)
    with pytest.raises(Denied):
        releases.roll_back(actor=bob, release=held)
    _look(people, system, release)


def _look(people: People, system: Repo, release: Release) -> None:
    """Its page, its list, and the same over REST."""
    browser = Client()
    page = markup(browser.get("/acme/desk"))
    for words in ("bob/lora-moods", "v5", "score", "Releases", "acme/colours", "<svg"):
        assert words in page
    assert "acme/desk" in markup(browser.get("/systems"))
    assert browser.get("/systems/propose?adapter=bob/lora-moods").status_code == 302, "sign in first"
    who = client(people.charlie)
    shown = who.get("/api/v1/systems/acme/desk").json()
    assert [row["adapter"]["repo"] for row in shown["manifest"]["members"]] == ["bob/lora-moods", "bob/lora-colours"]
    assert shown["current"]["number"] == 5
    assert [row["number"] for row in who.get("/api/v1/systems/acme/desk/releases").json()["results"]] == [5, 4, 3, 2, 1]
    assert (
        who.post(f"/api/v1/systems/acme/desk/releases/{release.number}/rollback", {}, format="json").status_code == 403
    )
    asked = {"adapter": "bob/lora-moods", "revision": "main", "task": "acme/moods"}
    assert who.post("/api/v1/systems/acme/desk/proposals", asked, format="json").status_code == 201
    assert browser.login(username="charlie", password=PASSWORD)
    made = browser.post("/systems/propose", {"adapter": "bob/lora-colours", "system": "acme/desk", "remove": "1"})
    assert made.status_code == 302 and "/acme/desk/discussions/" in made["Location"]
    assert "system.json" in markup(browser.get(made["Location"]))


def test_what_cannot_be_proposed(people: People, lab: dict[str, Repo]) -> None:
    alice = actor_for(people.alice)
    system = releases.create_system(actor=alice, owner=people.acme, name="desk", base="acme/tiny")
    for asked, sentence in (
        ({"adapter": "bob/none"}, "no adapter"),
        ({"adapter": "bob/adapter-moods", "task": "acme/none"}, "no task"),
    ):
        with pytest.raises(BadRequest, match=sentence):
            releases.propose_member(actor=alice, system=system, **asked)
    Repo.objects.filter(pk=lab["adapter-moods"].pk).update(private=True)
    with pytest.raises(BadRequest, match="takes public"):
        releases.propose_member(actor=actor_for(people.bob), system=system, adapter="bob/adapter-moods")
    with pytest.raises(BadManifest, match="no member"):
        releases.propose_removal(actor=alice, system=system, adapter="bob/adapter-tastes")
    put(people.alice, system, {"system.json": b"{"})
    do_jobs()
    assert Release.objects.filter(system=system).count() == 1, "a broken manifest is no candidate"
    system.refresh_from_db()
    assert system.kind == Kind.SYSTEM


@pytest.mark.parametrize(("change", "sentence"), [
    ({"version": 2}, "version"), ({"members": {}}, "list"), ({"base": {"repo": "x", "sha": SHA}}, "owner/name"),
    ({"base": {"repo": "a/b", "sha": "main"}}, "full commit id"), ({"members": [3]}, "Member 1"),
    ({"router": {"name": 3}}, "router"), ({"router": {"name": "x", "parameters": {"a": True}}}, "numbers"),
    ({"router": {"name": "x", "parameters": {"a": 1e40}}}, "ordinary size"),
    ({"router": {"name": "x", "parameters": {"a": 10**400}}}, "not allowed in JSON"),
    ({"router": {"name": "x", "parameters": {"a": float("nan")}}}, "not allowed in JSON"),
    ({"router": {"name": "x\0"}}, "NUL"),
    ({"generalist": {"recipe": []}}, "generalist"),
    ({"members": [{"adapter": {"repo": "a/b", "sha": SHA}, "task": {"repo": "a/t", "sha": SHA}}] * 2}, "twice"),
])  # fmt: skip
def test_bad_manifests(change: dict[str, Any], sentence: str) -> None:
    good = Manifest(Pin("a/base", SHA)).to_dict()
    with pytest.raises(BadManifest, match=sentence):
        manifest.parse(json.dumps(good | change))
    for number in (10**400, float("nan"), float("-inf")):
        with pytest.raises(BadManifest, match="ordinary size"):
            manifest.parse(good | {"router": {"name": "x", "parameters": {"a": number}}})
    for text in ("[", "[]", "3", '{"version": 1}', '{"version": 1, "version": 1}', "[" * 100_000, '"\ud800"'):
        with pytest.raises(BadManifest):
            manifest.parse(text)


def test_manifests_there_and_back_and_what_changed() -> None:
    one, two = (Member(Pin(f"a/{name}", SHA), Pin("a/t", SHA)) for name in ("x", "y"))
    first = Manifest(Pin("a/base", SHA)).with_member(one)
    both = first.with_member(two)
    newer = both.with_member(Member(Pin("A/X", "b" * 40), Pin("a/t", SHA)))
    assert manifest.parse(both.to_bytes()) == both
    assert [member.adapter.repo for member in newer.members] == ["A/X", "a/y"]
    assert manifest.changes(first, both) == ["Added a/y for a/t."]
    assert manifest.changes(both, both.without("a/x")) == ["Removed a/x."]
    assert manifest.changes(both, both) == ["Nothing but words changed."]


def test_falls_are_told_from_noise() -> None:
    before = [{"task": "t", "score": 0.9, "right": "1" * 40}, {"task": "gone", "score": 1.0, "right": "1"}]
    assert routed.falls(before, [{"task": "t", "score": 0.5, "right": "1" * 30 + "0" * 10}]) == [
        "t falls from 0.900 to 0.500 (p = 0.002).", "gone is no longer covered.",
    ]  # fmt: skip
    assert routed.falls(before[:1], [{"task": "t", "score": 0.8, "right": "1" * 38 + "00"}]) == []
