"""Recipes from text: defaults, canonical form, fingerprint, mergekit's dialect, and every refusal by name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merges.methods import METHODS
from merges.recipes import RecipeError, fingerprint, parse, to_dict, to_yaml

TIES = """
merge_method: ties
base: {model: acme/minilm, revision: main}
inputs:
  - {adapter: alice/one, weight: 1.0, density: 0.5}
  - {adapter: bob/two, revision: v2}
  - carol/three
parameters: {trim_scope: global}
output: {rank: 16}
"""


def fields(text: object) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        parse(text)  # type: ignore[arg-type]
    return {problem.field: problem.message for problem in caught.value.problems}


def test_defaults_are_filled_in() -> None:
    recipe = parse(TIES)
    assert recipe.parameters == {
        "density": 0.2, "lambda": 1.0, "trim_scope": "global", "normalize": "weight", "zero_sign": "plus",
    }  # fmt: skip
    assert [entry.weight for entry in recipe.inputs] == [1.0, 1.0, 1.0]
    assert recipe.inputs[0].parameters == {"density": 0.5}
    assert recipe.inputs[1].revision == "v2"
    assert (recipe.output.form, recipe.output.rank, recipe.output.heads) == ("rank", 16, "keep")


def test_the_form_follows_the_method() -> None:
    inputs = ["a/b", "c/d"]
    assert parse({"merge_method": "mean", "inputs": inputs}).output.form == "exact"
    ties = parse({"merge_method": "ties", "inputs": inputs}).output
    assert (ties.form, ties.rank) == ("rank", "sum")


names = st.from_regex(r"[a-z]{1,8}/[a-z0-9]{1,8}", fullmatch=True)
inputs = st.lists(st.tuples(names, st.floats(-5, 5), st.none() | st.just("v1")), min_size=1, max_size=5)


@given(st.sampled_from(list(METHODS)), inputs, st.none() | st.integers(1, 64))
def test_the_canonical_text_says_the_same_and_has_the_same_fingerprint(
    method: str, entries: list[tuple[str, float, str | None]], rank: int | None
) -> None:
    data: dict[str, object] = {
        "merge_method": method,
        "inputs": [{"adapter": name, "weight": weight, "revision": revision} for name, weight, revision in entries],
        "output": {} if rank is None or METHODS[method].routed else {"rank": rank},
    } | ({"select": {"tasks": ["a/task"]}} if METHODS[method].searched else {})
    recipe = parse(data)
    again = parse(to_yaml(recipe))
    assert again == recipe
    assert fingerprint(again) == fingerprint(parse(to_dict(recipe))) == fingerprint(recipe)


def test_the_fingerprint_ignores_how_it_is_written_and_sees_what_it_means() -> None:
    short = {"merge_method": "task_arithmetic", "inputs": ["a/b", "c/d"]}
    long = (
        "inputs: [{weight: 1, adapter: a/b}, {adapter: c/d}]\nparameters: {lambda: 0.5}\nmerge_method: task_arithmetic"
    )
    assert fingerprint(parse(short)) == fingerprint(parse(long))
    assert fingerprint(parse(short)) != fingerprint(parse(long.replace("0.5", "0.6")))
    assert fingerprint(parse(short)) != fingerprint(parse(long.replace("c/d", "c/e")))


def test_a_recipe_without_a_method_gets_the_default_of_what_it_merges() -> None:
    """Adapters by TSV-M, whose automatic λ is one over the fourth root of their number; checkpoints plainly added."""
    pair, many = parse({"inputs": ["a/b", "c/d"]}), parse({"inputs": [f"a/{number}" for number in range(16)]})
    assert (pair.method, many.method) == ("tsv_m", "tsv_m")
    assert pair.parameters["lambda"] == pytest.approx(2**-0.25)
    assert many.parameters["lambda"] == pytest.approx(0.5)
    whole = parse({"base": "a/base", "inputs": [{"model": "a/b"}, {"adapter": "c/d"}]})
    assert whole.method == "task_arithmetic"


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"merge_metod": 1}, "recipe.merge_metod", "'merge_metod' is not known in recipe"),
        ({"merge_method": "fishy"}, "merge_method", "no method 'fishy'. Choose one of mean"),
        ({"merge_method": ["ties"]}, "merge_method", "no method"),
        ({"inputs": []}, "inputs", "at least two"),
        ({"inputs": "a/b"}, "inputs", "List at least two adapters"),
        ({"inputs": ["a/b"] * 300}, "inputs", "at most 256"),
        (
            {"inputs": [{"adapter": "a/b", "weigth": 2}]},
            "inputs[0].weigth",
            "Known: adapter, model, revision, sha256, weight",
        ),
        ({"inputs": [{"adapter": "a/b", "weight": math.nan}]}, "inputs[0].weight", "finite"),
        ({"inputs": [{"adapter": "a/b", "weight": math.inf}]}, "inputs[0].weight", "finite"),
        ({"inputs": [{"adapter": "a/b", "weight": True}]}, "inputs[0].weight", "finite"),
        ({"inputs": [{"adapter": "a/b", "density": 0}]}, "inputs[0].density", "above 0 and at most 1"),
        ({"inputs": [{"adapter": "a/b", "sha256": "12"}]}, "inputs[0].sha256", "64 hexadecimal"),
        ({"inputs": [{"adapter": 7}]}, "inputs[0].adapter", "must be a text"),
        ({"inputs": [{"adapter": "a\nb"}]}, "inputs[0].adapter", "must be a text"),
        ({"parameters": {"density": 1.5}}, "parameters.density", "at most 1"),
        ({"parameters": {"density": "much"}}, "parameters.density", "finite number"),
        ({"parameters": {"lamda": 1}}, "parameters.lamda", "Known: density, lambda"),
        ({"parameters": [1]}, "parameters", "must be a mapping"),
        ({"output": {"form": "stacked"}}, "output.form", "no factors to stack"),
        ({"output": {"rank": 0}}, "output.rank", "from 1 to 4096"),
        ({"output": {"rank": 4, "form": "exact"}}, "output.rank", "no meaning"),
        ({"output": {"dtype": "int8"}}, "output.dtype", "float32, float16, bfloat16"),
        ({"base": {"modell": "x"}}, "base.modell", "Known: model, revision"),
    ],
)
def test_each_mistake_is_named_where_it_is(changes: dict[str, object], field: str, words: str) -> None:
    found = fields({"merge_method": "ties", "inputs": ["a/b", "c/d"], **changes})
    assert words in found[field]


def test_all_mistakes_are_named_at_once() -> None:
    assert len(fields({"merge_method": "ties", "inputs": [{"weight": "x"}], "parameters": {"density": 9}})) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x", "Aliases"),
        ("merge_method: ties\nmerge_method: mean", "written twice"),
        ("merge_method: !!python/object/apply:os.system ['ls']", "could not determine a constructor"),
        ("a: [", "not valid YAML"),
        ("- just\n- a list", "mapping of names"),
        ("", "mapping of names"),
        ("[" * 20_000, "nested too deeply"),
        ("a: " + "x" * 70_000, "longer than 64 KiB"),
        ("? [a, b]\n: 1", "not valid YAML"),
        ("a: \ud800", ""),
    ],
)
def test_hostile_texts_are_refused(text: str, words: str) -> None:
    assert words in fields(text)["recipe"]


def test_mergekits_ties_keeps_mergekits_defaults() -> None:
    recipe = parse(
        """
        models:
          - model: acme/minilm
          - model: acme/minilm+alice/one
            parameters: {weight: 0.3, density: 0.5}
          - model: bob/two
            parameters: {weight: 0.7}
        merge_method: ties
        base_model: acme/minilm
        parameters: {normalize: false}
        dtype: bfloat16
        """
    )
    assert [(entry.adapter, entry.weight, entry.parameters) for entry in recipe.inputs] == [
        ("alice/one", 0.3, {"density": 0.5}),
        ("bob/two", 0.7, {"density": 1.0}),
    ]
    assert recipe.base is not None
    assert recipe.base.model == "acme/minilm"
    assert (recipe.parameters["normalize"], recipe.output.dtype) == ("none", "bfloat16")


@pytest.mark.parametrize(
    ("name", "parameters", "method", "expected"),
    [
        ("linear", {}, "mean", {}),
        ("linear", {"normalize": False}, "task_arithmetic", {"lambda": 1.0}),
        ("task_arithmetic", {"lambda": 0.4}, "task_arithmetic", {"lambda": 0.4}),
        ("dare_ties", {}, "dare", {"combine": "ties", "rescale": "l1", "normalize": "none", "lambda": 1.0}),
        ("dare_linear", {}, "dare", {"combine": "linear", "lambda": 1.0}),
        ("slerp", {"t": 0.3}, "slerp", {"t": 0.3}),
    ],
)
def test_mergekits_methods_have_ours(
    name: str, parameters: dict[str, object], method: str, expected: dict[str, object]
) -> None:
    models = [{"model": "a/b"}, {"model": "c/d"}]
    recipe = parse({"merge_method": name, "models": models, "parameters": parameters})
    assert recipe.method == method
    assert expected.items() <= dict(recipe.parameters).items()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slices": []}, "Layer slices"),
        ({"merge_method": "sce"}, "'sce' is not here"),
        ({"parameters": {"weight": [0.1, 0.9]}}, "from layer to layer"),
        ({"parameters": {"select_topk": 1}}, "'select_topk' is not here"),
        ({"tokenizer_source": "union"}, "no meaning for adapters"),
        ({"models": "a"}, "must be a list"),
        ({"models": [{"name": "a"}]}, "models[0] must hold model"),
    ],
)
def test_what_mergekit_has_and_we_do_not_is_said(changes: dict[str, object], words: str) -> None:
    found = fields({"merge_method": "ties", "models": [{"model": "a/b"}, {"model": "c/d"}], **changes})
    assert words in " ".join(found.values())
