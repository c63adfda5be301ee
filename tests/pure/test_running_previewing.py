"""Previews from sketches against the exact figures of the same merge."""

import time
from pathlib import Path

import numpy as np
import pytest

from merges.recipes import RecipeError, parse
from merges.running import LocalAdapter, run
from merges.running.previewing import preview
from merges.running.sketching import pack, sketch_adapter, unpack
from tests.make_adapters import ia3_config, ia3_tensors, lora_config, lora_tensors, write_adapter

TARGETS = ("query", "key", "value")


def adapters(tmp_path: Path, width: int = 96) -> list[LocalAdapter]:
    config = lora_config(target_modules=list(TARGETS))
    made = []
    for number in range(3):
        tensors = lora_tensors(targets=TARGETS, seed=number, width=width)
        if number == 1:  # leans towards the first
            first = lora_tensors(targets=TARGETS, seed=0, width=width)
            tensors = {name: value + 0.7 * first[name] for name, value in tensors.items()}
        made.append(LocalAdapter(f"a/{number}", write_adapter(tmp_path / str(number), config, tensors)))
    return made


def previewed(given: list[LocalAdapter], method: str = "task_arithmetic", **more: object) -> dict:
    recipe = parse({"merge_method": method, "inputs": [item.name for item in given], **more})
    return preview(recipe, [unpack(pack(sketch_adapter(item))) for item in given])


def test_the_preview_is_close_to_what_the_merge_reports(tmp_path: Path) -> None:
    given = adapters(tmp_path)
    shown = previewed(given)
    recipe = parse({"merge_method": "task_arithmetic", "inputs": [item.name for item in given]})
    report = run(recipe, given, tmp_path / "out", lambda *_: None)
    np.testing.assert_allclose(np.array(shown["cosines"]), np.array(report.cosines), atol=0.05)
    assert abs(shown["cosines"][0][1]) > 0.2
    assert shown["conflict"] == pytest.approx(report.totals.sign_conflict, abs=0.02)
    assert set(shown["conflict_by_layer"]) == {"attention.self.key", "attention.self.query", "attention.self.value"}
    assert shown["rank"] == report.totals.largest_rank
    assert shown["bytes"] == report.totals.parameters * 4
    assert shown["warnings"] == []


def test_doubles_shared_starts_and_loud_inputs_are_named(tmp_path: Path) -> None:
    config = lora_config(target_modules=list(TARGETS))
    first = lora_tensors(targets=TARGETS, seed=0, width=96)
    double = {name: value * 1.01 for name, value in first.items()}
    fresh = lora_tensors(targets=TARGETS, seed=5, width=96)
    started = {name: (value if "lora_A" in name else fresh[name]) for name, value in first.items()}
    loud = {name: value * (30.0 if "lora_B" in name else 1.0) for name, value in fresh.items()}
    given = [
        LocalAdapter(f"a/{name}", write_adapter(tmp_path / name, config, tensors))
        for name, tensors in {"first": first, "double": double, "started": started, "loud": loud}.items()
    ]
    said = " ".join(previewed(given)["warnings"])
    assert "a/first and a/double are almost the same update" in said
    assert "a/first and a/started read almost the same input directions" in said
    assert "a/loud is" in said


def test_vectors_are_previewed_too(tmp_path: Path) -> None:
    given = [
        LocalAdapter(f"a/{n}", write_adapter(tmp_path / str(n), ia3_config(), ia3_tensors(seed=n))) for n in range(2)
    ]
    shown = previewed(given, "mean")
    assert shown["cosines"][0][0] == pytest.approx(1.0, abs=1e-3)
    assert shown["rank"] == 0


def test_weights_that_are_no_numbers_have_no_sketch(tmp_path: Path) -> None:
    tensors = lora_tensors(targets=TARGETS)
    broken = next(name for name in tensors if "lora_B" in name)
    tensors[broken][0] = np.nan
    folder = write_adapter(tmp_path / "nan", lora_config(target_modules=list(TARGETS)), tensors)
    with pytest.raises(RecipeError, match="NaN or infinite"):
        sketch_adapter(LocalAdapter("a/nan", folder))


def test_a_preview_of_eight_large_adapters_takes_less_than_a_second(tmp_path: Path) -> None:
    layers = 32
    config = lora_config(target_modules=list(TARGETS))
    tensors = lora_tensors(targets=TARGETS, seed=0, width=64)
    one = unpack(pack(sketch_adapter(LocalAdapter("a/0", write_adapter(tmp_path / "a", config, tensors)))))
    layer = next(iter(one.values()))
    from dataclasses import replace

    names = [f"model.layers.{n}.self_attn.{part}_proj" for n in range(layers) for part in "qkvo"]
    large = {
        name: replace(layer, name=name, shape=(4096, 4096), entries=np.random.default_rng(1).normal(size=2048))
        for name in names
    }
    packed = pack(large)
    recipe = parse({"merge_method": "ties", "inputs": [f"a/{n}" for n in range(8)]})
    started = time.process_time()
    preview(recipe, [unpack(packed) for _ in range(8)])
    assert time.process_time() - started < 2.0  # under a second on a quiet machine
    assert len(packed) < 1_500_000
