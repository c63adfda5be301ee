"""Three-way merges: who changed what, bytes kept where one side decides, methods against numpy, rows, bad rules."""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.diffs import Side
from adapters.formats.peft_config import parse_config
from merges.running.sidecars import sidecars_of
from merges.threeway import RuleError, index, opened, parse_rules, strategies, write
from tests.make_adapters import lora_config, lora_tensors

MODULE = "bert.encoder.layer.0.attention.self.query"
PREFIX = f"base_model.model.{MODULE}"


def three(folder: Path, versions: list[dict], files: ExitStack, config: dict | None = None):
    sides = []
    parsed = parse_config(json.dumps(config).encode()) if config else None
    for name, tensors in zip(("base", "ours", "theirs"), versions, strict=True):
        save_file(tensors, folder / name, {"format": "pt"})
        sides.append(Side([folder / name], parsed))
    return opened(*sides, files)


def merge(folder: Path, versions: list[dict], rules: list[dict], config: dict | None = None, fishers: tuple = ()):
    with ExitStack() as files:
        sides = three(folder, versions, files, config)
        for side, value in zip(("ours", "theirs"), fishers, strict=False):
            path = folder / f"{side}-fisher"
            save_file({MODULE: np.full((8, 8), value / 8, np.float32)}, path, {"weights_sha256": "x", "norm": "8"})
            sides.sidecars |= {side: sidecars_of({"fisher": path}, "x", files)}
        (folder / "out").mkdir(exist_ok=True)
        parsed = parse_config(json.dumps(config).encode()) if config else None
        written, result = write(
            sides,
            parse_rules(rules),
            {side: {"m.safetensors": folder / side} for side in ("ours", "theirs")},
            folder / "out",
            parsed,
        )
    return load_file(written["m.safetensors"]), result


def versions() -> list[dict]:
    random = np.random.default_rng(0)
    base = {name: random.normal(size=(6, 5)).astype(np.float32) for name in ("same", "mine", "yours", "both", "gone")}
    ours, theirs = dict(base), dict(base)
    ours["mine"], theirs["yours"] = base["mine"] + 1, base["yours"] + 2
    ours["both"] = base["both"] + random.normal(size=(6, 5)).astype(np.float32)
    theirs["both"] = base["both"] + random.normal(size=(6, 5)).astype(np.float32)
    del theirs["gone"]
    theirs["new"] = np.arange(3, dtype=np.int8)
    return [base, ours, theirs]


def test_who_changed_what_and_how_the_changes_lie(tmp_path: Path) -> None:
    base, ours, theirs = versions()
    with ExitStack() as files:
        sides = three(tmp_path, [base, ours, theirs], files)
        states = {unit.name: unit.state for unit in sides.units}
        preview = sides.preview()
    assert states == {"same": "same", "mine": "ours", "yours": "theirs", "both": "conflict", "gone": "theirs",
                      "new": "theirs"}  # fmt: skip
    (row,) = preview["conflicts"]
    a, b = ((side["both"] - base["both"]).astype(np.float64) for side in (ours, theirs))
    assert row["cosine"] == pytest.approx(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-5)
    assert row["sign_agreement"] == pytest.approx(np.mean(np.sign(a) == np.sign(b)))
    assert row["ours_change"] == pytest.approx(np.linalg.norm(a) / np.linalg.norm(base["both"]), rel=1e-5)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"strategy": "ours"}, lambda o, a, b: a),
        ({"strategy": "theirs"}, lambda o, a, b: b),
        ({"strategy": "original"}, lambda o, a, b: o),
        ({"strategy": "mean"}, lambda o, a, b: (a + b) / 2),
        ({"strategy": "mean", "ours": 3.0}, lambda o, a, b: 0.75 * a + 0.25 * b),
        ({"strategy": "task_arithmetic", "parameters": {"lambda": 1.0}}, lambda o, a, b: a + b - o),
    ],
)
def test_strategies_against_numpy(tmp_path: Path, rule: dict, expected) -> None:
    base, ours, theirs = versions()
    merged, _result = merge(tmp_path, [base, ours, theirs], [{"match": "both", **rule}])
    np.testing.assert_allclose(
        merged["both"], expected(base["both"], ours["both"], theirs["both"]), rtol=1e-5, atol=1e-6
    )
    for name, side in (("same", base), ("mine", ours), ("yours", theirs), ("new", theirs)):
        assert merged[name].tobytes() == side[name].tobytes()
    assert "gone" not in merged


def test_every_strategy_gives_a_file_that_can_be_read(tmp_path: Path) -> None:
    for name in strategies():
        merged, _result = merge(tmp_path, versions(), [{"strategy": name}])
        assert np.isfinite(merged["both"]).all(), name


def test_factors_of_an_adapter_are_merged_by_their_effect(tmp_path: Path) -> None:
    base, ours, theirs = lora_tensors(), lora_tensors(), lora_tensors()
    ours[f"{PREFIX}.lora_A.weight"] = ours[f"{PREFIX}.lora_A.weight"] * np.float32(2)
    theirs[f"{PREFIX}.lora_B.weight"] = theirs[f"{PREFIX}.lora_B.weight"] * np.float32(3)

    def effect(tensors: dict) -> np.ndarray:
        return tensors[f"{PREFIX}.lora_B.weight"].astype(np.float64) @ tensors[f"{PREFIX}.lora_A.weight"]

    merged, result = merge(tmp_path, [base, ours, theirs], [{"strategy": "mean"}], lora_config())
    np.testing.assert_allclose(effect(merged), effect(base) * 2.5, rtol=1e-4, atol=1e-5)
    (entry,) = result.decisions
    assert entry["name"] == MODULE
    assert entry["truncation_error"] == pytest.approx(0, abs=1e-6)
    others = {name: array for name, array in merged.items() if not name.startswith(PREFIX)}
    assert all(array.tobytes() == base[name].tobytes() for name, array in others.items())


def test_fisher_weighs_each_side_by_what_was_measured_of_it(tmp_path: Path) -> None:
    base, ours, theirs = lora_tensors(), lora_tensors(), lora_tensors()
    ours[f"{PREFIX}.lora_A.weight"] = ours[f"{PREFIX}.lora_A.weight"] * np.float32(2)
    theirs[f"{PREFIX}.lora_B.weight"] = theirs[f"{PREFIX}.lora_B.weight"] * np.float32(3)
    rule = {"strategy": "fisher", "parameters": {"normalize": "none"}}

    def effect(tensors: dict) -> np.ndarray:
        return tensors[f"{PREFIX}.lora_B.weight"].astype(np.float64) @ tensors[f"{PREFIX}.lora_A.weight"]

    merged, _result = merge(tmp_path, [base, ours, theirs], [rule], lora_config(), fishers=(3.0, 1.0))
    # ours adds the base's effect once, theirs twice: 1 + (3·1 + 1·2)/4
    np.testing.assert_allclose(effect(merged), effect(base) * 2.25, rtol=1e-4, atol=1e-5)
    for fishers, who in (((3.0,), "the proposal"), ((), "the target")):
        with pytest.raises(RuleError, match=f"{who} has none"):
            merge(tmp_path, [base, ours, theirs], [rule], lora_config(), fishers=fishers)


def test_every_tensor_keeps_its_file_and_the_index_follows(tmp_path: Path) -> None:
    one = {name: np.full((2, 2), number, np.float32) for number, name in enumerate(("a", "b", "c"))}
    files = {
        "base": ({"a": one["a"], "b": one["b"]}, {"c": one["c"]}),
        "ours": ({"a": one["a"] + 1, "b": one["b"]}, {"c": one["c"]}),
        "theirs": ({"a": one["a"] + 3, "b": one["b"]}, {"new": one["a"]}),  # c is gone, a file is new
    }
    names = {"base": ("1", "2"), "ours": ("1", "2"), "theirs": ("1", "3")}
    with ExitStack() as opened_files:
        sides = {}
        for side, parts in files.items():
            for name, tensors in zip(names[side], parts, strict=True):
                save_file(tensors, tmp_path / f"{side}{name}")
            sides[side] = Side([tmp_path / f"{side}{name}" for name in names[side]])
        layout = {side: {name: tmp_path / f"{side}{name}" for name in names[side]} for side in ("ours", "theirs")}
        (tmp_path / "out").mkdir()
        three_sides = opened(sides["base"], sides["ours"], sides["theirs"], opened_files)
        written, _result = write(three_sides, parse_rules([{}]), layout, tmp_path / "out")
    merged = {name: load_file(path) for name, path in written.items()}
    assert {name: sorted(tensors) for name, tensors in merged.items()} == {"1": ["a", "b"], "3": ["new"]}
    np.testing.assert_array_equal(merged["1"]["a"], one["a"] + 2)
    told = json.loads(index(written, b'{"metadata": {"total_size": 1, "kept": "yes"}, "weight_map": {"c": "2"}}'))
    assert told == {"metadata": {"total_size": 48, "kept": "yes"}, "weight_map": {"a": "1", "b": "1", "new": "3"}}


def test_rows_removed_on_one_side_and_trained_on_the_other(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    base = {"e": random.normal(size=(40, 4)).astype(np.float32)}
    trimmed = {"e": np.delete(base["e"], slice(3, 9), axis=0)}
    trained = {"e": base["e"] + 1}
    for sides in ([base, trimmed, trained], [base, trained, trimmed]):
        merged, result = merge(tmp_path, sides, [{"strategy": "mean"}])
        np.testing.assert_array_equal(merged["e"], np.delete(trained["e"], slice(3, 9), axis=0))
        assert result.decisions == [{"name": "e", "strategy": "rows"}]


def test_what_cannot_be_mixed_needs_a_rule_that_takes_a_side(tmp_path: Path) -> None:
    base = {"x": np.arange(4, dtype=np.int8), "y": np.ones(3, np.float32)}
    ours = {"x": base["x"] + 1, "y": base["y"]}
    theirs = {"x": base["x"] + 2, "y": base["y"]}
    with pytest.raises(RuleError, match="x cannot be mixed"):
        merge(tmp_path, [base, ours, theirs], [{"strategy": "mean"}])
    merged, _ = merge(tmp_path, [base, ours, theirs], [{"match": "x", "strategy": "theirs"}])
    np.testing.assert_array_equal(merged["x"], theirs["x"])


@pytest.mark.parametrize(
    "rules",
    [[], {}, [{"strategy": "fly"}], [{"match": ""}], [{"ours": "1"}], [{"ours": float("nan")}], [{"ours": True}],
     [{"strategy": "mean", "ours": -1}], [{"strategy": "ours", "parameters": {"x": 1}}], [{"colour": 1}],
     [{"strategy": "ties", "parameters": {"density": 7}}], [{}] * 101,
     [{"strategy": ["mean"]}], [{"strategy": {}}], [{"strategy": "ties", "parameters": {"lambda": 10**400}}],
     [{"ours": 10**400}]],
)  # fmt: skip
def test_rules_that_are_refused(rules) -> None:
    with pytest.raises(RuleError):
        parse_rules(rules)
