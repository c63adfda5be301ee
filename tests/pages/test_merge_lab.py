"""Pages of the merge lab: workbench, recipe, preview, comparison, gallery, statistics; and who sees them."""

import pytest
from django.template.loader import render_to_string
from django.test import Client

from merges.methods import DEFAULT, METHODS
from merges.models import Merge, MergeComparison
from tests.markup import markup
from tests.people import People
from tests.world import World, make_world

INPUTS = ["alice/secret-lora", "alice/secret-other"]


@pytest.fixture
def world(people: People, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(people, tmp_path_factory.mktemp("world"))


@pytest.fixture
def people(db: None) -> People:
    from tests.people import make_people

    return make_people()


def signed_in(account: object) -> Client:
    client = Client()
    client.force_login(account)  # type: ignore[arg-type]
    return client


def form(**more: object) -> dict[str, object]:
    return {"merge_method": "task_arithmetic", "input": INPUTS, "weight:alice/secret-other": "0.5"} | more


def test_the_workbench_previews_checks_and_queues(people: People, world: World) -> None:
    alice = signed_in(people.alice)
    page = markup(alice.get("/merge?input=alice/secret-other"))
    assert page.index("alice/secret-other") < page.index("alice/secret-lora")
    panel = markup(alice.post("/merge/preview", form()))
    assert "Cosine of alice/secret-lora and alice/secret-other" in panel
    assert "Takes" in panel
    same = markup(alice.post("/merge/preview", form(input=["alice/secret-lora"])))
    assert "at least two inputs" in same
    bad = markup(alice.post("/merge/preview", form(merge_method="ties", **{"parameter:density": "7"})))
    assert "at most 1" in bad
    spaces = markup(alice.post("/merge", form(merge_method="ties", find="1")))
    assert "knots" in spaces
    checked = markup(alice.post("/merge", form(check="1")))
    assert "Each input keeps its own head" in checked
    sent = form(target="alice/lab", go="1", form="energy", rank="0.9")
    assert alice.post("/merge", sent).status_code == 302
    assert Merge.objects.get(repo__name="lab").recipe["output"]["energy"] == 0.9
    refused = alice.post("/merge", form(target="alice/none", go="1", merge_method="fisher"))
    assert refused.status_code == 422
    assert "no fisher statistics" in markup(refused)


def test_the_recipe_page_lints_forks_and_queues(people: People, world: World) -> None:
    alice = signed_in(people.alice)
    assert "merge_method: mean" in markup(alice.get(f"/merge/recipe?from={world.merge.pk}"))
    assert "secret" not in markup(signed_in(people.charlie).get(f"/merge/recipe?from={world.merge.pk}"))
    live = markup(alice.post("/merge/preview", {"recipe": "merge_method: tis\ninputs: [a/b, c/d]\n"}))
    assert "There is no method" in live
    recipe = "merge_method: mean\ninputs: [alice/secret-lora, alice/secret-other]\n"
    assert alice.post("/merge/recipe", {"recipe": recipe, "target": "alice/typed", "go": "1"}).status_code == 302
    assert alice.post("/merge/recipe", {"recipe": recipe, "target": "charlie/x", "go": "1"}).status_code == 422


def test_comparisons_merges_and_the_gallery_are_for_those_who_may_see_them(people: People, world: World) -> None:
    alice, charlie = signed_in(people.alice), signed_in(people.charlie)
    Merge.objects.filter(pk=world.merge.pk).update(result_sha="0" * 40)
    for address in (f"/merge/comparisons/{world.comparison.pk}", f"/merge/{world.merge.pk}"):
        assert alice.get(address).status_code == 200
        assert charlie.get(address).status_code == 404
        assert Client().get(address).status_code == 404
    for address in ("/merge/gallery", "/merge/compare", "/merge/statistics"):
        assert "secret" in markup(alice.get(address))
        assert "secret" not in markup(charlie.get(address))
    assert "/accounts/login" in Client().get("/merge/compare").headers["Location"]


def test_every_method_has_its_page_entry_and_one_is_the_default(people: People) -> None:
    page = markup(Client().get("/merge/methods"))
    for method in METHODS.values():
        assert f'id="{method.name}"' in page
        assert method.reference.authors.replace("&", "&amp;") in page
        assert all(f"<code>{parameter.name}</code>" in page for parameter in method.parameters)
    assert "best λ of the best data-free method" in page
    assert f'<option value="{DEFAULT}" selected>' in markup(signed_in(people.alice).get("/merge"))


def test_a_merges_repo_leads_to_its_recipe(people: People, world: World) -> None:
    assert "/merge/" not in render_to_string("merges/made_by.html", {"repo": world.merge.repo})
    Merge.objects.filter(pk=world.merge.pk).update(result_sha="0" * 40)
    assert f"/merge/{world.merge.pk}" in render_to_string("merges/made_by.html", {"repo": world.merge.repo})


def test_a_report_is_shown_with_curves_and_published(people: People, world: World) -> None:
    task = {"n": 20, "accuracy": 0.8, "standard_error": 0.09, "normalised": 0.9, "progress": 0.5,
            "against_base": {"wins": 3, "losses": 1, "p": 0.6}, "against_specialist": {"wins": 1, "losses": 3, "p": 0.6}}  # fmt: skip
    line = {"tasks": {"t": task}, "accuracy": 0.8, "interval": [0.7, 0.9], "normalised": 0.9, "progress": None,
            "worst_task": "t", "worst_normalised": 0.9, "nearly_whole": 0.0}  # fmt: skip
    recipe = {
        "merge_method": "task_arithmetic",
        "inputs": [{"adapter": name} for name in INPUTS],
        "parameters": {"lambda": 0.5},
    }
    trials = [{"settings": {"lambda": value}, "accuracies": {"t": value / 2}, "loss": 1.0} for value in (0.1, 0.5)]
    geometry = {"cosines": [[1.0, 0.2], [0.2, 1.0]], "norm": 1.0, "largest_rank": 4, "error": 0.0}
    report = {
        "rows": [line | {"name": "base", "kind": "control", "title": "The base"},
                 line | {"name": "task_arithmetic", "kind": "method", "title": "Task arithmetic"}],
        "methods": [{"name": "task_arithmetic", "recipe": recipe, "trials": trials, "geometry": geometry}],
        "tasks": [{"name": "t", "n": 20, "chosen_on": 8}], "inputs": INPUTS, "winner": "task_arithmetic",
        "cross": [{"name": INPUTS[0], "accuracies": {"t": 0.8}}], "chosen_on": {"t": "train"},
    }  # fmt: skip
    MergeComparison.objects.filter(pk=world.comparison.pk).update(report=report)
    alice, address = signed_in(people.alice), f"/merge/comparisons/{world.comparison.pk}"
    page = markup(alice.get(address))
    assert "Validation accuracy over lambda" in page
    assert "which have no validation split" in page
    assert "λ chosen" in page and "Perplexity" not in page
    for entry in report["rows"]:
        entry["retention"] = {"perplexity_base": 40.0, "perplexity": 44.4, "perplexity_ratio": 1.11, "kl": 0.0123}
    MergeComparison.objects.filter(pk=world.comparison.pk).update(report=report | {"neutral_texts": 32})
    page = markup(alice.get(address))
    assert "× 1.110" in page and "0.0123" in page and "on 32 neutral sentences" in page
    assert "style=" not in page.partition("<main")[2]
    assert alice.post(address, {"target": "alice/won", "method": "task_arithmetic"}).status_code == 302
    assert Merge.objects.get(repo__name="won").recipe["parameters"] == {"lambda": 0.5}
    assert alice.post(address, {"target": "alice/won", "method": "nothing"}).status_code == 422
