"""The run on local folders: what it writes, what it reports, what it refuses."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from adapters.formats.inspect import inspect_adapter
from merges.methods.deltas import Dense, LowRank, dense
from merges.recipes import RecipeError, parse
from merges.running import Cancelled, LocalAdapter, MergeReport, reducing, run
from merges.running.reducing import already_minimal, distance, factored
from tests.make_adapters import ia3_config, ia3_tensors, lora_config, lora_tensors, write_adapter

TARGETS = ("query", "key", "value")
QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


def quiet(done: int, total: int, text: str) -> None:
    """No one is watching."""


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three LoRA adapters with heads of three labels, the last one of another rank."""
    config = lora_config(target_modules=list(TARGETS))
    made = [write_adapter(tmp_path / f"in{n}", config, lora_tensors(targets=TARGETS, seed=n)) for n in range(2)]
    large = lora_tensors(rank=3, targets=TARGETS, seed=7)
    return [*made, write_adapter(tmp_path / "in2", lora_config(r=3, target_modules=list(TARGETS)), large)]


def merge(folders: list[Path], target: Path, method: str = "task_arithmetic", **more: object) -> MergeReport:
    names = [f"alice/{folder.name}" for folder in folders]
    recipe = parse({"merge_method": method, "inputs": [{"adapter": name} for name in names], **more})
    return run(recipe, [LocalAdapter(*pair) for pair in zip(names, folders, strict=True)], target, quiet)


def product(folder: Path, module: str = QUERY) -> np.ndarray:
    """scaling·B·A as the files say."""
    tensors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    rank = tensors[f"{module}.lora_A.weight"].shape[0]
    name = module.removeprefix("base_model.model.")
    alpha = config.get("alpha_pattern", {}).get(name, config["lora_alpha"])
    return alpha / rank * (tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"])


BROKEN = {
    "norm that is a word": ("fisher", {"w": np.ones((8, 8), np.float32)}, {"norm": "x"}, "'x' where its norm"),
    "norm that is none": ("fisher", {"w": np.ones((8, 8), np.float32)}, {"norm": "nan"}, "where its norm"),
    "fisher too narrow": ("fisher", {"w": np.ones((8, 3), np.float32)}, {}, "8 × 3 F32 for W, where 8 × 8"),
    "fisher too short": ("fisher", {"w": np.ones((2, 8), np.float32)}, {}, "2 × 8 F32 for W"),
    "fisher of one number": ("fisher", {"w": np.ones((), np.float32)}, {}, "a single number F32"),
    "fisher not finite": ("fisher", {"w": np.full((8, 8), np.nan, np.float32)}, {}, "NaN, infinite"),
    "fisher beyond float32": ("fisher", {"w": np.full((8, 8), 1e300)}, {}, "far too large values for W"),
    "fisher of whole numbers": ("fisher", {"w": np.ones((8, 8), np.int32)}, {}, "I32"),
    "gram of another size": ("gram", {"w": np.ones((3, 3), np.float32)}, {}, "where 8 × 8 or 8 floating"),
    "gram not finite": ("gram", {"w": np.full(8, np.inf, np.float32)}, {}, "NaN, infinite"),
    "prototype by another name": ("prototype", {"x": np.ones(8, np.float32)}, {}, "one vector named prototype"),
    "prototype of zeros": ("prototype", {"prototype": np.zeros(8, np.float32)}, {}, "without a direction"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_statistics_that_do_not_fit_are_refused_by_name(folders: list[Path], tmp_path: Path, name: str) -> None:
    kind, tensors, metadata, words = BROKEN[name]
    site = QUERY.removeprefix("base_model.model.")
    for folder in folders:
        sha256 = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
        (folder / "statistics").mkdir()
        path = folder / "statistics" / f"{kind}.safetensors"
        save_file({site if key == "w" else key: value for key, value in tensors.items()}, path,
                  metadata | {"weights_sha256": sha256})  # fmt: skip
    merge(folders, tmp_path / "mean", "mean")
    with pytest.raises(RecipeError) as caught:
        merge(folders, tmp_path / "out", {"gram": "regmean", "prototype": "soft_moe"}.get(kind, kind))
    assert words.replace("W", site) in str(caught.value)
    assert f"alice/in0: statistics/{kind}.safetensors" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_folder_holds_a_sound_adapter_heads_recipe_and_report(folders: list[Path], tmp_path: Path) -> None:
    report = merge(folders, tmp_path / "out")
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == set(report.files)
    assert written == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "recipe.yaml",
        "merge_report.json",
        *(f"heads/alice--in{n}.{ending}" for n in range(3) for ending in ("safetensors", "labels.json")),
    }
    config = (tmp_path / "out" / "adapter_config.json").read_bytes()
    inspection = inspect_adapter(config, tmp_path / "out" / "adapter_model.safetensors", None)
    assert inspection.passed, inspection.findings
    assert inspection.facts["base_model"] == "acme/tiny-bert"
    assert inspection.facts["heads"] == []
    recipe = parse((tmp_path / "out" / "recipe.yaml").read_text())
    assert recipe.parameters == {"lambda": pytest.approx(1 / 3)}
    manifest = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert manifest["totals"]["layers"] == len(manifest["layers"]) == 6
    assert manifest["layers"][0]["ranks_in"] == [2, 2, 3]
    assert report.cosines[1][1] == pytest.approx(1.0)
    assert report.cosines[0][1] == report.cosines[1][0]


def test_heads_keep_their_parents_bytes_and_complete_the_adapter(folders: list[Path], tmp_path: Path) -> None:
    merge(folders, tmp_path / "out")
    head = load_file(tmp_path / "out" / "heads" / "alice--in1.safetensors")
    original = load_file(folders[1] / "adapter_model.safetensors")
    assert sorted(head) == ["base_model.model.classifier.bias", "base_model.model.classifier.weight"]
    for name, values in head.items():
        np.testing.assert_array_equal(values, original[name])
    labels = tmp_path / "out" / "heads" / "alice--in1.labels.json"
    assert json.loads(labels.read_text()) == ["negative", "neutral", "positive"]


def test_equal_heads_are_averaged_only_when_asked(folders: list[Path], tmp_path: Path) -> None:
    merge(folders[:2], tmp_path / "out", output={"heads": "mean"})
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    parents = [load_file(folder / "adapter_model.safetensors") for folder in folders[:2]]
    name = "base_model.model.classifier.weight"
    np.testing.assert_allclose(tensors[name], (parents[0][name] + parents[1][name]) / 2, rtol=1e-6)
    assert not (tmp_path / "out" / "heads").exists()
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["negative", "neutral", "positive"]
    (folders[1] / "labels.json").write_text('["a", "b", "c"]')
    with pytest.raises(RecipeError, match="different labels"):
        merge(folders[:2], tmp_path / "other", output={"heads": "mean"})


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare", "tsv_m"])
def test_equal_recipes_and_inputs_give_equal_bytes(method: str, folders: list[Path], tmp_path: Path) -> None:
    for name in ("first", "second"):
        merge(folders, tmp_path / name, method)
    for path in (tmp_path / "first").rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "first")).read_bytes()


def test_factored_and_dense_work_give_the_same_update(folders: list[Path], tmp_path: Path) -> None:
    merge(folders, tmp_path / "factored", parameters={"lambda": 0.5})
    merge(folders, tmp_path / "dense", "dare", parameters={"lambda": 0.5, "density": 1.0}, output={"form": "exact"})
    expected = 0.5 * sum(product(folder) for folder in folders)
    np.testing.assert_allclose(product(tmp_path / "factored"), expected, atol=1e-5)
    np.testing.assert_allclose(product(tmp_path / "dense"), expected, atol=1e-5)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_the_reported_error_is_the_tail_of_the_dense_svd(method: str, folders: list[Path], tmp_path: Path) -> None:
    exact = merge(folders, tmp_path / "exact", method, output={"form": "exact"})
    cut = merge(folders, tmp_path / "cut", method, output={"rank": 2})
    assert exact.totals.error < 1e-6
    lost = whole = 0.0
    for layer in cut.layers:
        full = product(tmp_path / "exact", f"base_model.model.{layer.name}").astype(float)
        sigma = np.linalg.svd(full, compute_uv=False)
        assert layer.rank_out == 2
        assert layer.norm == pytest.approx(np.linalg.norm(full), rel=1e-5)
        assert layer.error == pytest.approx(np.sqrt((sigma[2:] ** 2).sum() / (sigma**2).sum()), rel=1e-4)
        lost, whole = lost + (sigma[2:] ** 2).sum(), whole + (sigma**2).sum()
    assert cut.totals.error == pytest.approx(np.sqrt(lost / whole), rel=1e-4)


def test_without_a_rank_elementwise_methods_get_the_size_of_the_exact_sum(folders: list[Path], tmp_path: Path) -> None:
    report = merge(folders, tmp_path / "out", "ties")
    assert {layer.rank_out for layer in report.layers} == {7}
    assert 0 < report.totals.error < 1


@pytest.mark.parametrize("shape", [(300, 260), (260, 300)])
def test_large_layers_are_cut_almost_as_well_as_the_best(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = Dense(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    best = distance(values, factored(values, 8))
    tail = np.linalg.svd(values.values.astype(float), compute_uv=False)[8:]
    assert best == pytest.approx(np.sqrt((tail**2).sum()), rel=1e-6)
    monkeypatch.setattr(reducing, "EXACT_SIDE", 16)
    assert best < distance(values, factored(values, 8)) < 1.02 * best


def test_sixteen_bit_output_reports_its_rounding(folders: list[Path], tmp_path: Path) -> None:
    report = merge(folders, tmp_path / "out", output={"dtype": "bfloat16"})
    assert 1e-4 < report.totals.error < 1e-2
    inspection = inspect_adapter(
        (tmp_path / "out" / "adapter_config.json").read_bytes(), tmp_path / "out" / "adapter_model.safetensors", None
    )
    assert inspection.facts["dtypes"] == {"BF16": 12}


def test_opposite_adapters_cancel_and_the_conflict_says_so(tmp_path: Path) -> None:
    tensors = lora_tensors(seed=1)
    opposite = {name: -values if "lora_B" in name else values for name, values in tensors.items()}
    folders = [write_adapter(tmp_path / "a", None, tensors), write_adapter(tmp_path / "b", None, opposite)]
    report = merge(folders, tmp_path / "out")
    assert report.totals.norm == 0
    assert report.totals.sign_conflict == pytest.approx(1.0)
    assert report.cosines[0][1] == pytest.approx(-1.0)
    assert not product(tmp_path / "out").any()


def test_ia3_merges_as_offsets_from_one(tmp_path: Path) -> None:
    folders = [write_adapter(tmp_path / f"in{n}", ia3_config(), ia3_tensors(seed=n)) for n in range(2)]
    missing = load_file(folders[1] / "adapter_model.safetensors")
    name = "base_model.model.bert.encoder.layer.0.output.dense.ia3_l"
    del missing[name]
    save_file(missing, folders[1] / "adapter_model.safetensors")
    merge(folders, tmp_path / "out", parameters={"lambda": 0.5})
    merged = load_file(tmp_path / "out" / "adapter_model.safetensors")
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    np.testing.assert_allclose(merged[name], 1 + 0.5 * (first[name] - 1), rtol=1e-6)
    other = "base_model.model.bert.encoder.layer.1.attention.self.key.ia3_l"
    np.testing.assert_allclose(merged[other], 1 + 0.5 * (first[other] - 1) + 0.5 * (second[other] - 1), rtol=1e-6)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert "bert.encoder.layer.0.output.dense" in config["feedforward_modules"]
    assert "bert.encoder.layer.0.attention.self.key" not in config["feedforward_modules"]


def test_embeddings_merge_and_their_frozen_copies_stay_behind(tmp_path: Path) -> None:
    stem, folders = "base_model.model.bert.embeddings.word_embeddings", []
    config = lora_config(target_modules=["query", "value", "word_embeddings"])
    random = np.random.default_rng(0)
    for number in range(2):
        tensors = lora_tensors(seed=number) | {
            f"{stem}.lora_embedding_A": random.normal(size=(2, 20)).astype(np.float32),
            f"{stem}.lora_embedding_B": random.normal(size=(8, 2)).astype(np.float32),
            f"{stem}.base_layer.weight": np.ones((20, 8), np.float32),
        }
        folders.append(write_adapter(tmp_path / f"in{number}", config, tensors))
    merge(folders, tmp_path / "out", parameters={"lambda": 0.5})
    merged = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert f"{stem}.base_layer.weight" not in merged
    parents = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    products = [one[f"{stem}.lora_embedding_B"] @ one[f"{stem}.lora_embedding_A"] for one in (merged, *parents)]
    np.testing.assert_allclose(products[0], 0.5 * 2 * (products[1] + products[2]), atol=1e-5)


def test_progress_counts_layers_and_can_stop_the_merge(folders: list[Path], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int, text: str) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyError("the lease is lost")

    recipe = parse({"merge_method": "mean", "inputs": ["alice/in0", "alice/in1"]})
    inputs = [LocalAdapter(f"alice/{folder.name}", folder) for folder in folders[:2]]
    with pytest.raises(Cancelled) as caught:
        run(recipe, inputs, tmp_path / "out", stop)
    assert isinstance(caught.value.__cause__, KeyError)
    assert told == [(0, 6), (1, 6), (2, 6), (3, 6)]
    assert not (tmp_path / "out").exists()


def test_an_occupied_output_is_left_alone(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        merge(folders, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "out.partial").exists()


def put_nan(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors[f"{QUERY}.lora_A.weight"][0, 0] = np.nan
    save_file(tensors, folder / "adapter_model.safetensors")


def change_config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def grow(folder: Path) -> None:
    write_adapter(folder, lora_config(target_modules=list(TARGETS)), lora_tensors(width=16, targets=TARGETS))


def other_class(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name.replace(".bert.", "."): v for name, v in tensors.items()}, folder / "adapter_model.safetensors")


def truncate(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def prompt(folder: Path) -> None:
    config = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "base_model_name_or_path": "acme/tiny-bert"}
    write_adapter(folder, config, {"prompt_embeddings": np.ones((3, 8), np.float32)})


BAD = {
    "NaN": (put_nan, "NaN or infinite"),
    "DoRA": (change_config(use_dora=True), "DoRA adapter"),
    "prompt tuning": (prompt, "Prompts are read by position"),
    "another base": (change_config(base_model_name_or_path="acme/other"), "different bases"),
    "another kind": (lambda folder: write_adapter(folder, ia3_config(), ia3_tensors()), "multiplies"),
    "another width": (grow, "made for different models"),
    "another model class": (other_class, "named for different model classes"),
    "truncated": (truncate, "cut off"),
    "no weights": (
        lambda folder: (folder / "adapter_model.safetensors").unlink(),
        "adapter_model.safetensors is missing",
    ),
    "labels": (lambda folder: (folder / "labels.json").write_text('{"a": 1}'), "labels.json is not a list"),
    "pissa": (change_config(init_lora_weights="pissa"), "changes the base"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_inputs_that_cannot_be_merged_are_refused_in_a_sentence(name: str, folders: list[Path], tmp_path: Path) -> None:
    spoil, words = BAD[name]
    spoil(folders[1])
    with pytest.raises(RecipeError, match=words) as caught:
        merge(folders[:2], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert all(problem.field.startswith("inputs") for problem in caught.value.problems)


def enlarge(folder: Path, left: float, right: float, dtype: type = np.float32) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    sizes = {"lora_B": left, "lora_A": right}
    made = {name: value.astype(dtype) * sizes.get(name.split(".")[-2], 1.0) for name, value in tensors.items()}
    save_file({name: value.astype(dtype) for name, value in made.items()}, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("sizes", "dtype", "method", "output", "words"),
    [
        ((1e200, 1e200), np.float64, "task_arithmetic", {}, r"alice/in0: bert\S* changes by values that are NaN or infinite in float32"),
        ((1e25, 1e25), np.float32, "ties", {}, r"alice/in0: bert\S* changes by values that are NaN or infinite in float32"),
        ((1e25, 1e25), np.float32, "task_arithmetic", {}, r"alice/in0: bert\S* changes by values that are NaN or infinite in float32"),
        (
            (1e6, 1e-6), np.float32, "task_arithmetic", {"form": "stacked", "dtype": "float16"},
            r"bert\S* holds values that are too large for float16. Choose bfloat16",
        ),
    ],
)  # fmt: skip
def test_finite_values_that_overflow_are_named(
    sizes: tuple[float, float], dtype: type, method: str, output: dict, words: str, folders: list[Path], tmp_path: Path
) -> None:
    for folder in folders[:2]:
        enlarge(folder, *sizes, dtype)
    with pytest.raises(RecipeError, match=words):
        merge(folders[:2], tmp_path / "out", method, output=output)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("form", ["exact", "stacked"])
def test_large_factors_of_ordinary_updates_merge(form: str, folders: list[Path], tmp_path: Path) -> None:
    wanted = sum(product(folder) for folder in folders[:2])
    for folder in folders[:2]:
        enlarge(folder, 1e25, 1e-25)
    report = merge(folders[:2], tmp_path / "out", output={"form": form}, parameters={"lambda": 1.0})
    np.testing.assert_allclose(product(tmp_path / "out"), wanted, rtol=1e-4, atol=1e-6)
    assert report.cosines[0][0] == pytest.approx(1.0)


def test_inputs_must_be_the_recipes(folders: list[Path], tmp_path: Path) -> None:
    recipe = parse({"merge_method": "mean", "inputs": ["alice/a", "alice/b"]})
    with pytest.raises(RecipeError, match="The recipe names alice/a, alice/b but nothing was given"):
        run(recipe, [], tmp_path / "out", quiet)


def test_layers_keep_their_balance_between_factors() -> None:
    delta = LowRank(np.full((6, 1), 1000.0, np.float32), np.full((1, 5), 0.001, np.float32))
    balanced = factored(delta, None)
    assert np.linalg.norm(balanced.left) == pytest.approx(np.linalg.norm(balanced.right), rel=1e-6)
    np.testing.assert_allclose(dense(balanced), dense(delta), rtol=1e-6)


def test_independent_factors_are_written_as_they_are(folders: list[Path], tmp_path: Path) -> None:
    """Nothing is lost or rounded: A of the result is the inputs' A, one below the other."""
    merge(folders, tmp_path / "out")
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")[f"{QUERY}.lora_A.weight"]
    inputs = [load_file(folder / "adapter_model.safetensors")[f"{QUERY}.lora_A.weight"] for folder in folders]
    np.testing.assert_array_equal(written, np.concatenate(inputs))


@given(
    seed=st.integers(0, 1000),
    rank=st.integers(1, 6),
    likeness=st.sampled_from([0.0, 0.5, 0.999, 1.0]),
    scale=st.sampled_from([1e-25, 1e-3, 1.0, 1e25]),
)
def test_factors_are_kept_only_where_their_product_has_full_rank(
    seed: int, rank: int, likeness: float, scale: float
) -> None:
    draw = np.random.default_rng(seed)
    left, right = draw.standard_normal((12, rank)), draw.standard_normal((rank, 9))
    left[:, -1] = likeness * left[:, 0] + (1.0 - likeness) * left[:, -1]
    delta = LowRank((left * scale).astype(np.float32), right.astype(np.float32))
    kept = already_minimal(delta)
    sigma = np.linalg.svd(delta.left.astype(float) @ delta.right.astype(float), compute_uv=False)
    if kept is None:
        assert scale != 1.0 or rank > 1  # A single pair that is not tiny or huge is always kept.
        return
    assert np.count_nonzero(sigma > 1e-6 * sigma[0]) == rank
    assert kept.norm == pytest.approx(np.sqrt(np.square(sigma).sum()), rel=1e-4)
    np.testing.assert_array_equal(kept.factors.left, delta.left)
    np.testing.assert_array_equal(kept.factors.right, delta.right)


def test_adapters_of_the_same_directions_need_only_one_adapters_rank(folders: list[Path], tmp_path: Path) -> None:
    longer = {name: 2 * tensor for name, tensor in load_file(folders[0] / "adapter_model.safetensors").items()}
    copy = write_adapter(tmp_path / "longer", lora_config(target_modules=list(TARGETS)), longer)
    assert merge([folders[0], copy], tmp_path / "out").totals.largest_rank == 2
