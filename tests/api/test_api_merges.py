"""Methods, recipes, merges and evaluations over the REST API, on real files and a real worker's functions."""

import pytest

from hub.jobs.models import Job
from hub.repos.models import Repo
from merges.methods import METHODS
from merges.models import Evaluation, Merge
from tests.api.test_api_repos import API, get, post
from tests.make_adapters import lora_config, write_adapter
from tests.people import People
from tests.publishing import do_jobs, publish
from tests.world import World, client

INPUTS = [{"adapter": "alice/secret-lora", "weight": 1.0}, {"adapter": "alice/secret-other", "weight": 0.5}]


def test_methods_declare_themselves(db: None) -> None:
    methods = get(client(), "/methods")
    assert [row["name"] for row in methods] == list(METHODS)
    ties = next(row for row in methods if row["name"] == "ties")
    assert {"density", "lambda"} <= {row["name"] for row in ties["parameters"]}
    assert ties["reference"]["url"].startswith("http")


def test_lint(world: World, people: People) -> None:
    alice = client(people.alice, "read")
    good = post(alice, "/recipes/lint", {"recipe": {"merge_method": "ties", "inputs": INPUTS}}, 200)
    assert (good["ok"], "merge_method: ties" in good["yaml"]) == (True, True)
    text = "merge_method: tis\ninputs: [alice/secret-lora]\n"
    bad = post(alice, "/recipes/lint", {"recipe": text}, 200)
    assert (bad["ok"], bad["yaml"], bad["problems"][0]["field"]) == (False, None, "merge_method")
    post(client(), "/recipes/lint", {"recipe": {"merge_method": "ties", "inputs": INPUTS}}, 422)


@pytest.mark.parametrize(
    "recipe",
    [
        {"merge_method": "mean", "inputs": [{"adapter": "a/b", "weight": 10**400}]},
        "merge_method: dare\ninputs: [a/b, c/d]\nparameters: {seed: 1" + "0" * 400 + "}",
        'merge_method: mean\nspace: !!int ""',
        "k: 0x" + "f" * 6000,
        [1, 2],
        7,
    ],
    ids=["weight", "seed", "tag", "hexadecimal", "list", "number"],
)
def test_no_recipe_breaks_the_linter(db: None, recipe: object) -> None:
    """Not signed in: a sentence, never a server error."""
    said = client().post(f"{API}/recipes/lint", {"recipe": recipe}, format="json")
    told = said.json()
    assert said.status_code == 400 or (said.status_code, told["ok"]) == (200, False), told
    assert told.get("problems") or told["error"]


def test_a_merge_and_its_evaluation(world: World, people: People) -> None:
    alice = client(people.alice)
    order = {"recipe": {"merge_method": "mean", "inputs": INPUTS}, "target": "alice/both"}
    made = post(alice, "/merges", order, headers={"Idempotency-Key": "once"})
    assert post(alice, "/merges", order, headers={"Idempotency-Key": "once"}) == made
    post(alice, "/merges", order | {"target": "alice/other"}, 422, headers={"Idempotency-Key": "once"})
    assert Merge.objects.filter(repo__name="both").count() == 1
    assert (made["state"], made["method"]) == ("queued", "mean")
    asked = post(alice, "/evaluations", {"subject": "alice/secret-lora", "task": "alice/secret-task"})
    assert asked["id"] == world.evaluation.pk
    Job.objects.filter(kind="merges.evaluate").update(state="cancelled")
    do_jobs()
    done = get(alice, f"/merges/{made['id']}")
    assert done["state"] == "succeeded", done["error"]
    assert done["result_sha"] == get(alice, "/repos/alice/both")["head"]
    assert done["report"]
    assert get(alice, "/merges?repo=alice/both&method=mean&owner=alice")["count"] == 1
    assert get(alice, "/merges?method=ties")["count"] == 0
    assert get(alice, "/repos/alice/both/lineage")["made_from"][0]["repo"]
    Evaluation.objects.filter(pk=world.evaluation.pk).update(score=0.6, n=12)
    rows = get(alice, "/evaluations?task=alice/secret-task&subject=alice/secret-lora&scored=true&sort=-score")
    assert [(row["score"], row["n"]) for row in rows["results"]] == [(0.6, 12), (0.5, 12)]
    assert get(alice, f"/evaluations/{world.evaluation.pk}")["base"] == "acme/tiny-bert"


def test_an_input_made_private_later_loses_its_name(world: World, people: People) -> None:
    Repo.objects.filter(owner=people.alice).exclude(name="secret-other").update(private=False)
    shown = get(client(), f"/merges/{world.merge.pk}")
    assert [row["adapter"] for row in shown["recipe"]["inputs"]] == ["alice/secret-lora", "private"]
    assert "secret-other" not in str(shown)


def test_a_private_task_is_not_named_by_a_public_job(world: World, people: People) -> None:
    Repo.objects.filter(pk=world.adapter.pk).update(private=False)
    assert get(client(), "/jobs?kind=merges.evaluate")["count"] == 1
    for address in ("/jobs", "/activity", "/repos/alice/secret-lora/activity"):
        assert "secret-task" not in str(get(client(), address))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": INPUTS[:1]}, "at least two"),
        ({"inputs": [INPUTS[0], {"adapter": "acme/absent"}]}, "no adapter"),
        ({"inputs": [INPUTS[0], {"adapter": "alice/elsewhere"}]}, "different bases"),
        ({"merge_method": "magic"}, "no method"),
        ({"parameters": {"density": 7}}, "density"),
    ],
)
def test_merges_that_cannot_be(world: World, people: People, tmp_path, change: dict[str, object], words: str) -> None:
    config = lora_config(base_model_name_or_path="acme/other-base")
    publish(people.alice, "elsewhere", write_adapter(tmp_path / "elsewhere", config))
    recipe = {"merge_method": "ties", "inputs": INPUTS} | change
    said = post(client(people.alice), "/merges", {"recipe": recipe, "target": "alice/never"}, 422)
    assert words in said["error"]
    assert not Repo.objects.filter(name="never").exists()


def test_weights_that_are_no_numbers(world: World, people: People) -> None:
    alice = client(people.alice)
    text = (
        "merge_method: mean\ninputs:\n- {adapter: alice/secret-lora, weight: .nan}\n- {adapter: alice/secret-other}\n"
    )
    said = post(alice, "/merges", {"recipe": text, "target": "alice/never"}, 422)
    assert "finite" in said["error"]
    assert said["problems"][0]["field"] == "inputs[0].weight"
    raw = '{"recipe": {"merge_method": "mean", "inputs": [{"adapter": "a/b", "weight": NaN}]}, "target": "alice/x"}'
    answer = alice.generic("POST", "/api/v1/merges", raw, content_type="application/json")
    assert answer.status_code == 400
    bomb = "a: &a [1,1,1]\nb: &b [*a,*a,*a]\n" * 3
    assert "Aliases" in post(alice, "/merges", {"recipe": bomb, "target": "alice/never"}, 422)["error"]


def test_an_evaluation_without_test_rows(world: World, people: People) -> None:
    alice = client(people.alice)
    post(alice, "/tasks/alice/secret-task/commit", {"message": "Less", "deletes": ["test.jsonl"]})
    asked = {"subject": "alice/secret-lora", "task": "alice/secret-task"}
    assert "no test split" in post(alice, "/evaluations", asked, 422)["error"]
    post(alice, "/evaluations", asked | {"seed": -1}, 400)
