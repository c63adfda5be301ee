"""A router taught through the mixture: it learns which expert answers, repeats its bytes, and never falls behind."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.runtime.examples import Example
from merges.recipes import parse
from merges.running import LocalAdapter, run
from merges.running.learning import RoutedTask, learn_router
from merges.running.mixing import SoftMixture
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Example]]:
    """Two experts of one head: one that was taught, one that does the opposite; prototypes that say nothing."""
    folder = tmp_path_factory.mktemp("learning")
    base, rows, inputs = write_encoder(folder / "base"), opinions(60), []
    settings = Settings(epochs=8, seed=1, rank=4, folds=0, learning_rate=1e-2)
    teach(base, rows, settings, folder / "0", base_name="acme/tiny")
    shutil.copytree(folder / "0", folder / "1")
    tensors = load_file(folder / "1" / "adapter_model.safetensors")
    opposite = {name: -3 * value if "lora_B" in name else value for name, value in tensors.items()}
    save_file(opposite, folder / "1" / "adapter_model.safetensors", {"format": "pt"})
    for number in range(2):
        target = folder / str(number)
        sha256 = hashlib.sha256((target / "adapter_model.safetensors").read_bytes()).hexdigest()
        (target / "statistics").mkdir()
        prototype = {"prototype": np.ones(32, np.float32)}
        save_file(prototype, target / "statistics" / "prototype.safetensors", {"weights_sha256": sha256})
        inputs.append(LocalAdapter(f"a/{number}", target))
    run(parse({"merge_method": "soft_moe", "inputs": ["a/0", "a/1"]}), inputs, folder / "soft", lambda *_: None)
    raw = {"merge_method": "soft_moe", "inputs": ["a/0", "a/1"], "parameters": {"router": "per_module"}}
    run(parse(raw | {"select": {"tasks": ["a/task"]}}), inputs, folder / "soft-per-module", lambda *_: None)
    return base, folder / "soft", rows


def taught(made: tuple[Path, Path, list[Example]], target: Path) -> tuple[Path, dict]:
    base, soft, rows = made
    shutil.copytree(soft, target)
    task = RoutedTask(target / "heads" / "a--0.safetensors", rows)
    return target, learn_router(base, target, [task], lambda *_: None)


def loss(mixture: SoftMixture, rows: list[Example]) -> float:
    """Mean cross-entropy in nats."""
    labels = sorted({row.label for row in rows})
    wanted = np.array([labels.index(row.label) for row in rows])
    scores = mixture.logits([row.text for row in rows]).astype(np.float64)
    return float(np.mean(np.log(np.exp(scores).sum(1)) - scores[np.arange(len(wanted)), wanted]))


def test_it_learns_to_ask_the_expert_that_is_right(made: tuple[Path, Path, list[Example]], tmp_path: Path) -> None:
    base, soft, rows = made
    folder, told = taught(made, tmp_path / "taught")
    head, texts = folder / "heads" / "a--0.safetensors", [row.text for row in rows]
    before = SoftMixture(base, soft, head).probabilities(texts)
    after = SoftMixture(base, folder, head).probabilities(texts)
    np.testing.assert_allclose(before, 0.5, atol=1e-6)
    assert after[:, 0].mean() > 0.6, told
    assert told["held_back_loss"][told["epoch"]] == min(told["held_back_loss"]) < told["held_back_loss"][0]
    assert loss(SoftMixture(base, folder, head), rows) < loss(SoftMixture(base, soft, head), rows)


def test_its_bytes_repeat_and_the_report_names_them(made: tuple[Path, Path, list[Example]], tmp_path: Path) -> None:
    (one, told), (other, _) = taught(made, tmp_path / "one"), taught(made, tmp_path / "other")
    for name in ("router.safetensors", "routing.json", "merge_report.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    report = json.loads((one / "merge_report.json").read_bytes())
    assert report["router"] == told
    for name in ("router.safetensors", "routing.json"):
        assert report["outputs"][name] == hashlib.sha256((one / name).read_bytes()).hexdigest()
    assert set(load_file(one / "router.safetensors")) == {"prototypes", "weights", "bias"}


def test_a_router_for_each_module_learns_too_and_is_read_again(
    made: tuple[Path, Path, list[Example]], tmp_path: Path
) -> None:
    base, soft, rows = made
    begun = soft.with_name("soft-per-module")
    (folder, told), (other, _) = (taught((base, begun, rows), tmp_path / name) for name in ("one", "other"))
    assert told["held_back_loss"][told["epoch"]] == min(told["held_back_loss"]) < told["held_back_loss"][0]
    for name in ("router.safetensors", "routing.json", "merge_report.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    head, texts = folder / "heads" / "a--0.safetensors", [row.text for row in rows]
    said = SoftMixture(base, folder, head).module_probabilities(texts)
    names = set(load_file(folder / "router.safetensors"))
    assert names == {"prototypes", *(f"{site}.{part}" for site in said for part in ("weights", "bias"))}
    assert all(np.abs(shares - 0.5).max() > 0.05 for shares in said.values())
    assert loss(SoftMixture(base, folder, head), rows) < loss(SoftMixture(base, begun, head), rows)
