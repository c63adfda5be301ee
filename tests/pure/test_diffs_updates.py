"""Updates of adapters against dense numpy, kinds of change, renamed and re-sharded tensors, hostile sizes."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.numpy import load_file, save, save_file

from adapters.diffs import Side, TensorChange, compare, manifest, summary, warnings
from adapters.diffs.manifest import key_of
from adapters.diffs.spectrum import of_blocks, of_factors
from adapters.formats import values
from adapters.formats.errors import FormatError
from adapters.formats.peft_config import parse_config
from tests.make_adapters import (
    base_tensors,
    hostile_weights,
    ia3_config,
    ia3_tensors,
    lora_config,
    lora_tensors,
    raw_file,
)
from tests.pure.test_running_peft import TURNED, base_of, save_random

QUERY = "bert.encoder.layer.0.attention.self.query"
PREFIX = f"base_model.model.{QUERY}"


def side(folder: Path, tensors: dict, config: dict | None = None, base: Side | None = None) -> Side:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.safetensors"
    save_file(tensors, path)
    return Side([path], parse_config(json.dumps(config).encode()) if config else None, base)


def by_name(changes: list[TensorChange]) -> dict[str, TensorChange]:
    return {change.name: change for change in changes}


def delta(tensors: dict, scaling: float, prefix: str = PREFIX) -> np.ndarray:
    return scaling * tensors[f"{prefix}.lora_B.weight"].astype(np.float64) @ tensors[f"{prefix}.lora_A.weight"]


@settings(max_examples=40)
@given(
    st.integers(1, 4), st.integers(1, 4), st.floats(0.1, 10), st.floats(0.1, 10), st.integers(0, 2**32), st.booleans()
)
def test_numbers_of_updates_agree_with_dense_numpy(
    tmp_path_factory: pytest.TempPathFactory, one: int, other: int, alpha: float, beta: float, seed: int, rslora: bool
) -> None:
    folder = tmp_path_factory.mktemp("d")
    a, b = lora_tensors(one, seed=seed), lora_tensors(other, seed=seed + 1)
    old = side(folder, a, lora_config(r=one, lora_alpha=alpha, use_rslora=rslora))
    new = side(folder, b, lora_config(r=other, lora_alpha=beta))
    change = by_name(compare(old, new))[QUERY]
    left, right = delta(a, alpha / (one**0.5 if rslora else one)), delta(b, beta / other)
    difference = right - left
    assert change.unit == "update"
    assert change.change_norm == pytest.approx(np.linalg.norm(difference))
    assert change.relative_norm == pytest.approx(np.linalg.norm(difference) / np.linalg.norm(left))
    assert change.max_abs == pytest.approx(np.abs(difference).max())
    cosine = np.vdot(left, right) / np.linalg.norm(left) / np.linalg.norm(right)
    assert change.cosine_distance == pytest.approx(1 - cosine, abs=1e-9)
    sigma = np.linalg.svd(difference, compute_uv=False)
    shown = np.array(change.spectrum["singular_values"])
    size = min(len(shown), len(sigma))
    np.testing.assert_allclose(shown[:size], sigma[:size], rtol=1e-4, atol=1e-9 * sigma[0])
    shares = sigma[sigma > 1e-12] ** 2 / (sigma**2).sum()
    assert change.spectrum["effective_rank"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), abs=0.01)
    assert change.spectrum["rank_90"] == int(np.argmax(np.cumsum(sigma**2) >= 0.9 * (sigma**2).sum())) + 1


def test_other_factors_with_the_same_effect(tmp_path: Path) -> None:
    one = lora_tensors()
    mixing = np.array([[2.0, 1.0], [0.5, 3.0]])
    other = {name: array.copy() for name, array in one.items()}
    for name in one:
        if "lora_A" in name:
            partner = name.replace("lora_A", "lora_B")
            other[name] = (np.linalg.inv(mixing) @ one[name]).astype(np.float32)
            other[partner] = (one[partner] @ mixing / 3).astype(np.float32)
    changes = by_name(compare(side(tmp_path, one, lora_config()), side(tmp_path, other, lora_config(lora_alpha=12))))
    assert changes[QUERY].status == "equivalent"
    assert {part["status"] for part in changes[QUERY].parts} == {"changed"}
    assert "same effect" in summary(list(changes.values()))
    # the same factors with another scaling are not the same adapter
    scaled = by_name(compare(side(tmp_path, one, lora_config()), side(tmp_path, one, lora_config(lora_alpha=2))))
    assert (scaled[QUERY].status, scaled[QUERY].update) == ("changed", "scale")
    assert scaled[QUERY].relative_norm == pytest.approx(0.5)
    assert "0.5" in scaled[QUERY].evidence


def test_an_adapter_on_its_base(tmp_path: Path) -> None:
    weights, tensors = base_tensors(), lora_tensors()
    base = side(tmp_path, weights)
    changes = by_name(compare(base, side(tmp_path, tensors, lora_config())))
    update = delta(tensors, 2.0)
    weight = weights[f"{QUERY}.weight"].astype(np.float64)
    change = changes[f"{QUERY}.weight"]
    assert change.relative_norm == pytest.approx(np.linalg.norm(update) / np.linalg.norm(weight))
    cosine = np.vdot(weight, weight + update) / np.linalg.norm(weight) / np.linalg.norm(weight + update)
    assert change.cosine_distance == pytest.approx(1 - cosine)
    assert changes[f"{QUERY.replace('query', 'key')}.weight"].status == "unchanged"
    assert changes["classifier.weight"].status == "added"
    assert "low-rank updates to query and value in layers 0 to 1" in summary(list(changes.values()))
    full = dict(weights)
    for name in weights:
        prefix = "base_model.model." + name.removesuffix(".weight")
        if f"{prefix}.lora_A.weight" in tensors:
            full[name] = (weights[name] + delta(tensors, 2.0, prefix)).astype(np.float32)
    merged = side(tmp_path, full)
    against = by_name(compare(side(tmp_path, tensors, lora_config(), base), merged))
    assert against[f"{QUERY}.weight"].relative_norm == pytest.approx(0, abs=1e-6)
    plain = by_name(compare(base, merged))[f"{QUERY}.weight"]
    assert (plain.update, plain.relative_norm) == ("low_rank", pytest.approx(change.relative_norm, rel=1e-5))
    assert "Rank 2" in plain.evidence


def test_ia3_on_its_base_is_a_scale(tmp_path: Path) -> None:
    weights, tensors = base_tensors(), ia3_tensors()
    changes = by_name(compare(side(tmp_path, weights), side(tmp_path, tensors, ia3_config())))
    change = changes["bert.encoder.layer.0.attention.self.key.weight"]
    vector = tensors["base_model.model.bert.encoder.layer.0.attention.self.key.ia3_l"].reshape(-1, 1)
    weight = weights["bert.encoder.layer.0.attention.self.key.weight"]
    assert change.update == "scale"
    assert change.relative_norm == pytest.approx(np.linalg.norm(weight * (vector - 1)) / np.linalg.norm(weight))
    feed = changes["bert.encoder.layer.0.output.dense.weight"]
    assert (feed.update, "column" in feed.evidence) == ("scale", True)


@pytest.mark.parametrize("kind", TURNED)
def test_turned_layers_are_what_peft_makes_of_them(kind: str, tmp_path: Path) -> None:
    """GPT-2 keeps its weights as inputs × outputs, and its square ones do not show it."""
    base_of(kind).save_pretrained(tmp_path / "base")
    save_random(kind, tmp_path / "adapter", 1)
    PeftModel.from_pretrained(base_of(kind), str(tmp_path / "adapter")).merge_and_unload().save_pretrained(
        tmp_path / "merged"
    )
    base, merged = (Side([tmp_path / name / "model.safetensors"]) for name in ("base", "merged"))
    config = parse_config((tmp_path / "adapter" / "adapter_config.json").read_bytes())
    weights = [tmp_path / "adapter" / "adapter_model.safetensors"]
    against = by_name(compare(Side(weights, config, base), merged))
    start, end = load_file(base.files[0]), load_file(merged.files[0])
    assert against.keys() == start.keys()
    for name, change in against.items():
        assert change.relative_norm == pytest.approx(0, abs=1e-6), name
    alone = {
        name: change
        for name, change in by_name(compare(base, Side(weights, config))).items()
        if change.status == "changed"
    }
    assert alone.keys() == {name for name in start if not np.array_equal(start[name], end[name])}
    for name, change in alone.items():
        wide = start[name].astype(np.float64)
        wanted = np.linalg.norm(end[name] - wide) / np.linalg.norm(wide)
        assert change.relative_norm == pytest.approx(wanted, rel=1e-5), name
        assert change.new_norm == pytest.approx(np.linalg.norm(end[name].astype(np.float64)), rel=1e-5), name


def kinds() -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    random = np.random.default_rng(5)
    weight = random.normal(size=(96, 64)).astype(np.float32)
    few = weight.copy()
    few[3, :10] += 1
    low = random.normal(size=(96, 3)) @ random.normal(size=(3, 64)) * 0.01
    return {
        "scale": (weight, weight * random.uniform(0.9, 1.1, size=64).astype(np.float32), "column"),
        "sparse": (weight, few, "1 of 96 rows"),
        "low_rank": (weight, (weight + low).astype(np.float32), "Rank 3"),
        "dense": (weight, weight + 0.01 * random.normal(size=weight.shape).astype(np.float32), "directions"),
        "rows": (weight, np.delete(weight, slice(1, 9), axis=0), "8 removed (1 to 8)"),
    }


@pytest.mark.parametrize("kind", kinds())
def test_kinds_of_change(tmp_path: Path, kind: str) -> None:
    old, new, words = kinds()[kind]
    (change,) = compare(side(tmp_path, {"x": old}), side(tmp_path, {"x": new}))
    assert change.update == kind
    assert words in change.evidence


def test_low_rank_is_seen_through_the_rounding_of_bfloat16(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    weight = values.round_to(random.normal(size=(256, 192)).astype(np.float32), "BF16")
    moved = values.round_to(weight + 0.05 * random.normal(size=(256, 4)) @ random.normal(size=(4, 192)), "BF16")
    paths = []
    for number, array in enumerate((weight, moved)):
        bits = (array.astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
        path = tmp_path / str(number)
        path.write_bytes(raw_file({"x": {"dtype": "BF16", "shape": [256, 192], "data_offsets": [0, len(bits)]}}, bits))
        paths.append(Side([path]))
    (change,) = compare(*paths)
    assert change.update == "low_rank"
    assert "Rank 4" in change.evidence
    assert "BF16" in change.evidence


def test_renamed_and_in_other_shards(tmp_path: Path) -> None:
    old = base_tensors()
    new = {f"model.{name}": array for name, array in old.items()}
    first = "model.bert.encoder.layer.0.attention.self.query.weight"
    new[first] = new[first] + np.float32(0.5)
    names = sorted(new)
    shards = [side(tmp_path / "s", {name: new[name] for name in part}).files[0] for part in (names[::2], names[1::2])]
    changes = compare(side(tmp_path, old), Side(shards))
    assert {change.status for change in changes} == {"renamed", "changed"}
    assert by_name(changes)[first].old_name == first.removeprefix("model.")
    with pytest.raises(FormatError, match="Two files"):
        compare(Side([shards[0], shards[0]]), Side(shards))


def test_many_tensors_and_a_huge_rank(tmp_path: Path) -> None:
    old = {f"layer.{number}.x": np.full(2, number, np.float32) for number in range(20_000)}
    new = old | {"layer.7.x": np.zeros(2, np.float32)}
    changes = compare(side(tmp_path, old), side(tmp_path, new))
    assert sum(change.status == "changed" for change in changes) == 1
    random = np.random.default_rng(8)
    for rank, columns in ((4096, 40), (40, 4096)):
        left, right = random.normal(size=(30, rank)), random.normal(size=(rank, columns))
        np.testing.assert_allclose(
            of_factors(left, right).values, np.linalg.svd(left @ right, compute_uv=False), rtol=1e-9
        )


def test_a_large_matrix_is_sketched() -> None:
    random = np.random.default_rng(9)
    low = random.normal(size=(1500, 5)) @ random.normal(size=(5, 1400))
    found = of_blocks(lambda: iter(np.array_split(low, 7)), low.shape, float(np.vdot(low, low)))
    np.testing.assert_allclose(found.values[:5], np.linalg.svd(low, compute_uv=False)[:5], rtol=1e-9)
    assert not found.at_least
    noise = random.normal(size=(1500, 1400))
    assert of_blocks(lambda: iter([noise]), noise.shape, float(np.vdot(noise, noise))).at_least


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    old, new = ({"x": np.arange(6, dtype=np.float32) + shift} for shift in (0, 1))
    learned: dict[tuple[str, str], dict] = {}
    first = compare(
        side(tmp_path, old), side(tmp_path, new), learn=lambda a, b, numbers: learned.__setitem__((a, b), numbers)
    )
    ((pair, numbers),) = learned.items()
    again = compare(side(tmp_path, old), side(tmp_path, new), known={pair: numbers | {"max_abs": 42.0}})
    assert (first[0].max_abs, again[0].max_abs) == (1.0, 42.0)
    stops = pytest.raises(KeyboardInterrupt)

    def stop(done: int, total: int, name: str) -> None:
        raise KeyboardInterrupt

    with stops:
        compare(side(tmp_path, old), side(tmp_path, new), progress=stop)


def test_manifest(tmp_path: Path) -> None:
    random = np.random.default_rng(10)
    array = random.normal(size=(70, 11)).astype(np.float16)
    array[0, :4] = (np.nan, np.inf, -np.inf, 0)
    raw = save({"x": array, "n": np.arange(-3, 4, dtype=np.int8), "e": np.zeros((0, 3), np.float32)}, {"a": "b"})
    (tmp_path / "f").write_bytes(raw)
    found = manifest(tmp_path / "f")
    assert raw[8 : 8 + len(found.header)] == found.header
    facts = {item.name: item for item in found.tensors}
    finite = array[np.isfinite(array)].astype(np.float64)
    x = facts["x"]
    assert (x.nan, x.infinite, x.zeros) == (1, 2, int((array == 0).sum()))
    assert x.norm == pytest.approx(np.linalg.norm(finite))
    assert (x.smallest, x.greatest) == (finite.min(), finite.max())
    assert sum(count for _, count in x.histogram) == array.size
    assert x.key == key_of("F16", (70, 11), x.sha256)
    assert (facts["n"].smallest, facts["n"].greatest, facts["n"].zeros) == (-3, 3, 1)
    assert (facts["e"].norm, facts["e"].smallest) == (0.0, None)


@pytest.mark.parametrize("name", sorted(hostile_weights()))
def test_files_that_lie_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").write_bytes(hostile_weights()[name][0])
    with pytest.raises(FormatError):
        manifest(tmp_path / "f")


def test_not_finite_on_both_sides_is_said(tmp_path: Path) -> None:
    old = np.array([[np.nan, np.inf], [1, 2]], np.float32)
    changes = compare(side(tmp_path, {"x": old}), side(tmp_path, {"x": old * 2}))
    assert changes[0].not_finite == 2
    assert "2 values in x are not finite" in warnings(changes)[0]


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_mean_of_two_parents_is_told(tmp_path: Path, share: float) -> None:
    random = np.random.default_rng(11)
    old, other = (random.normal(size=(64, 48)).astype(np.float32) for _ in range(2))
    new = ((1 - share) * old + share * other).astype(np.float32)
    (change,) = compare(side(tmp_path, {"x": old}), side(tmp_path, {"x": new}), other=side(tmp_path, {"x": other}))
    assert change.update == "mean"
    assert f"{share:.0%} of the other" in change.evidence
    (dense,) = compare(side(tmp_path, {"x": old}), side(tmp_path, {"x": other}), other=side(tmp_path, {"x": new}))
    assert dense.update == "dense"
