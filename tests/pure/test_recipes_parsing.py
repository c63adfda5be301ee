"""Recipes from text: defaults, canonical form, fingerprint, mergekit's dialect, and every refusal by name."""

import json
import math
from typing import Any

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
        ("merge_method: !!python/object/apply:os.system ['ls']", "Tags"),
        *((f"weight: {value}", "Tags") for value in ('!!int ""', '!!float ""', "!!bool x", "!!timestamp x", "! x")),
        ("a: &x !!set {b}", "Tags"),
        ("<<: {a: 1}", "Merge keys"),
        ("1" + ":00" * 200 + ".0: x", "not valid YAML"),
        ("2020-13-45: x", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
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


@pytest.mark.parametrize("number", [10**400, -(10**400), 16**6000], ids=["long", "negative", "longer than it prints"])
def test_whole_numbers_beyond_every_float_are_refused(number: int) -> None:
    inputs = [{"adapter": "a/b", "weight": number}, {"adapter": "c/d", "density": number}, "e/f"]
    changes = {
        "parameters": {"lambda": number, "seed": number},
        "output": {"max_bytes": number},
        "select": {"tasks": ["a/b"], "examples": number, "grid": {"lambda": [number]}},
        number: number,
    }
    found = fields({"merge_method": "dare", "inputs": inputs, **changes})
    assert {
        "inputs[0].weight", "inputs[1].density", "parameters.lambda", "parameters.seed", "output.max_bytes",
        "select.examples", "select.grid.lambda",
    } <= set(found)  # fmt: skip
    assert all(len(message) < 500 for message in found.values())


def test_after_fifty_problems_it_says_that_there_may_be_more() -> None:
    text = "\n".join(f"k{number}: 1" for number in range(7000))
    with pytest.raises(RecipeError) as caught:
        parse(text)
    assert len(caught.value.problems) == 51
    assert "first 50 problems" in caught.value.problems[-1].message


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["auto", "sum", "a/b", "ties", "owner/task", 10**400, 1 << 63, "\0", "\ud800", "x" * 400])
)  # fmt: skip
words = st.sampled_from([
    "merge_method", "base", "inputs", "parameters", "space", "select", "output", "adapter", "model", "revision",
    "sha256", "weight", "density", "lambda", "seed", "tasks", "grid", "split", "examples", "form", "rank", "energy",
    "max_bytes", "dtype", "heads", "models", "base_model", "slices", "normalize", "t",
])  # fmt: skip
keys = words | st.text(max_size=4) | st.integers() | st.none() | st.floats() | st.booleans() | st.just(10**400)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
)
likely = st.fixed_dictionaries(
    {"merge_method": st.sampled_from([*METHODS, "linear", "dare_ties", "della_linear"]) | scalars},
    optional={
        "inputs": st.lists(st.just("a/b") | st.dictionaries(words, scalars, max_size=4), max_size=3) | trees,
        "models": st.lists(st.fixed_dictionaries({"model": scalars, "parameters": trees}), max_size=2) | trees,
        "parameters": st.dictionaries(words, scalars, max_size=4) | trees,
        "select": st.dictionaries(words, trees, max_size=4),
        "output": st.dictionaries(words, scalars, max_size=4),
        "base": trees,
        "base_model": scalars,
    },
)
fragments = st.lists(
    words
    | st.sampled_from([
        ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", ", ", "? ", "|", ">", "'", '"', "#", "%", "---", "...", "<<", "=",
        "!!int", "!!float", "!!bool", "!!timestamp", "!!binary", "!!set", "!!omap", "!!pairs", "!", "!x", "&a", "*a",
        "0x", "0x_", "0x" + "f" * 6000, "0b_", "0o9", "1:60", "-.inf", ".nan", "1e999", "2020-99-99", "0001-01-01T00:00:00+23:59", "~", "\0",
    ])
    | st.text(max_size=3),
    max_size=30,
)  # fmt: skip


@given(likely | trees | fragments.map("".join) | likely.map(lambda data: json.dumps(data, skipkeys=True)))
def test_anything_is_a_recipe_or_refused_in_sentences_that_can_be_sent(data: Any) -> None:
    problems = []
    try:
        text = to_yaml(parse(data))
    except RecipeError as error:
        text, problems = "", error.problems
    assert not text or to_yaml(parse(text)) == text
    assert all(0 < len(one.message) < 1000 and len(one.field) < 500 for one in problems)
    json.dumps([[one.field, one.message] for one in problems], ensure_ascii=False).encode()


def test_a_grid_of_whole_numbers_keeps_them_whole() -> None:
    select = {"tasks": ["a/task"], "grid": {"seed": [1, 2], "lambda": [1]}}
    recipe = parse({"merge_method": "dare", "inputs": ["a/b", "c/d"], "select": select})
    assert recipe.select is not None
    assert [type(value) for value in recipe.select.grid["seed"]] == [int, int]
    assert parse(to_yaml(recipe)) == recipe


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
        ({"merge_method": "task_arithmetic", "parameters": {"normalize": True, "lambda": 0.5}}, "lambda of normalised"),
        ({"merge_method": "linear", "base_model": "a/b"}, "weight of its own"),
        ({"models": [{"name": "a"}]}, "models[0] must hold model"),
    ],
)
def test_what_mergekit_has_and_we_do_not_is_said(changes: dict[str, object], words: str) -> None:
    found = fields({"merge_method": "ties", "models": [{"model": "a/b"}, {"model": "c/d"}], **changes})
    assert words in " ".join(found.values())
