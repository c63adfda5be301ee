"""Teaching over the REST API: checked first, taught, watched, refused with every row named."""

from pathlib import Path

import pytest

from hub.repos.models import Repo
from merges.models import Teaching
from tests.api.test_api_repos import get, post
from tests.merges.test_work_teaching import FAST, distinct
from tests.people import People, make_repo
from tests.publishing import do_jobs, publish
from tests.pure.tiny_models import write_encoder
from tests.world import client


@pytest.fixture
def base(people: People, tmp_path: Path) -> Repo:
    return publish(people.acme, "tiny", write_encoder(tmp_path / "base"), by=people.alice)


def test_check_then_teach_then_watch(people: People, base: Repo) -> None:
    alice = client(people.alice)
    rows = distinct(40)
    rows[5] = rows[4]
    rows[9] = {"text": rows[8]["text"], "label": "no" if rows[8]["label"] == "yes" else "yes"}
    order = {"target": "alice/moods", "examples": rows, "settings": FAST, "license": "mit"}
    seen = post(client(people.alice, "read"), "/teachings/check", order, 200)
    assert seen["ok"]
    assert {(row["code"], tuple(row["rows"])) for row in seen["remarks"]} == {
        ("duplicate", (5, 6)), ("conflict", (9, 10)),
    }  # fmt: skip
    assert seen["taught"] + seen["tested"] == 37
    assert (seen["base"], seen["settings"]["rank"]) == ("acme/tiny", 4)
    assert seen["estimate"]["seconds"] > 0
    assert not Repo.objects.filter(name__startswith="moods").exists()
    made = post(alice, "/teachings", order, headers={"Idempotency-Key": "one"})
    assert post(alice, "/teachings", order, headers={"Idempotency-Key": "one"}) == made
    assert (made["state"], made["task"], made["method"]) == ("queued", "alice/moods-examples", "lora")
    do_jobs()
    done = get(alice, f"/teachings/{made['id']}")
    assert done["state"] == "succeeded", done["error"]
    assert done["result_sha"] == get(alice, "/repos/alice/moods")["head"]
    assert done["curve"][-1]["loss"] > 0
    assert done["report"]["seconds"] > 0
    assert done["start"]["chosen"] == "base"
    assert get(alice, "/teachings?repo=alice/moods&owner=alice")["count"] == 1
    assert get(alice, "/teachings?task=acme/none")["count"] == 0
    assert get(alice, "/evaluations?subject=alice/moods&scored=true")["count"] == 1
    asked = post(alice, f"/teachings/{made['id']}/compare", {})
    assert asked["id"] == made["id"]
    do_jobs()
    ways = get(alice, f"/teachings/{made['id']}")["comparison"]["ways"]
    assert [way["name"] for way in ways] == [
        "Specialist", "Zero-shot: label name most like the text", "In-context learning",
        "Linear probe on frozen features",
    ]  # fmt: skip
    assert ways[0]["n"] == seen["tested"]
    assert ways[2]["accuracy"] is None
    assert ways[2]["note"]


def test_a_text_is_as_good_as_a_list(people: People, base: Repo) -> None:
    text = "text,label\n" + "\n".join(f'"{row["text"]}",{row["label"]}' for row in distinct(12)) + "\n"
    seen = post(client(people.alice), "/teachings/check", {"target": "alice/x", "content": text}, 200)
    assert (seen["ok"], seen["taught"], seen["tested"]) == (True, 12, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"examples": [{"text": "a", "label": "x"}]}, "at least two"),
        (
            {"examples": [{"text": "a1", "label": "A"}, {"text": "b1", "label": "b"}, {"text": "c", "label": "a"}]},
            "case",
        ),
        ({"examples": [1, 2]}, "no usable example"),
        ({"content": "text;label\na;b"}, "columns found"),
        ({"task": "alice/none"}, "no task"),
        ({"base": "alice/none"}, "no base"),
        ({"method": "magic"}, "no method"),
        ({"settings": {"epochs": -1}}, "epochs is -1"),
        ({"settings": {"epochs": "many"}}, "not what it takes"),
        ({"start": "alice/none"}, "no adapter"),
        ({"target": "bob/mine"}, "may not create"),
        ({}, "Give examples"),
    ],
)
def test_refusals_say_why(people: People, base: Repo, changes: dict, words: str) -> None:
    good = {"target": "alice/moods"}
    if not {"examples", "content", "task"} & changes.keys() and changes:
        good["examples"] = distinct(8)
    answer = client(people.alice).post("/api/v1/teachings", good | changes, format="json")
    assert answer.status_code in (403, 422), answer.content
    assert words in answer.json()["error"], answer.json()
    assert not Repo.objects.filter(name__startswith="moods").exists()


def test_the_nearest_specialist_has_no_name_for_those_who_may_not_read_it(people: People, base: Repo) -> None:
    alice, bob = client(people.alice), client(people.bob)
    made = post(alice, "/teachings", {"target": "alice/moods", "examples": distinct(8), "settings": FAST})
    secret = make_repo(people.alice, "secret", private=True)
    Teaching.objects.update(comparison={"ways": [], "nearest": secret.full_name})
    assert get(alice, f"/teachings/{made['id']}")["comparison"]["nearest"] == "alice/secret"
    assert get(bob, f"/teachings/{made['id']}")["comparison"] == {"ways": [], "nearest": ""}
