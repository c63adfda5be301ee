"""A soft mixture against its experts: one-hot is the expert, uniform is the mean, rows do not touch each other."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.runtime import Runtime
from merges.recipes import parse
from merges.running import LocalAdapter, run
from merges.running.mixing import SoftMixture
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_encoder

TEXTS = [row.text for row in opinions(9)]
COUNT = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[LocalAdapter]]:
    folder = tmp_path_factory.mktemp("mixture")
    base, inputs = write_encoder(folder / "base"), []
    random = np.random.default_rng(0)
    for number in range(COUNT):
        target = folder / str(number)
        settings = Settings(epochs=2, seed=number, rank=(4, 8, 2)[number])
        teach(base, opinions(24, start=number), settings, target, base_name="acme/tiny")
        sha256 = hashlib.sha256((target / "adapter_model.safetensors").read_bytes()).hexdigest()
        (target / "statistics").mkdir()
        prototype = {"prototype": random.normal(size=32).astype(np.float32)}
        save_file(prototype, target / "statistics" / "prototype.safetensors", {"weights_sha256": sha256})
        inputs.append(LocalAdapter(f"a/{number}", target))
    recipe = parse({"merge_method": "soft_moe", "inputs": [item.name for item in inputs]})
    run(recipe, inputs, folder / "soft", lambda *_: None)
    return base, folder / "soft", inputs


def with_head(base: Path, adapter: Path, head: Path) -> np.ndarray:
    runtime = Runtime(base)
    runtime.attach("one", adapter, head)
    return runtime.logits(TEXTS, "one")


def test_a_one_hot_router_is_the_expert(made: tuple[Path, Path, list[LocalAdapter]]) -> None:
    base, soft, inputs = made
    head = soft / "heads" / "a--0.safetensors"
    mixture = SoftMixture(base, soft, head)
    for number, item in enumerate(inputs):
        shares = np.zeros((len(TEXTS), COUNT))
        shares[:, number] = 1.0
        expected = with_head(base, item.folder, head)
        np.testing.assert_allclose(mixture.logits(TEXTS, probabilities=shares), expected, atol=1e-4)


def test_a_uniform_router_is_the_mean_and_so_is_peft_alone(
    made: tuple[Path, Path, list[LocalAdapter]], tmp_path: Path
) -> None:
    base, soft, inputs = made
    head = soft / "heads" / "a--1.safetensors"
    recipe = parse({"merge_method": "mean", "inputs": [item.name for item in inputs]})
    run(recipe, inputs, tmp_path / "mean", lambda *_: None)
    expected = with_head(base, tmp_path / "mean", head)
    uniform = np.full((len(TEXTS), COUNT), 1 / COUNT)
    np.testing.assert_allclose(SoftMixture(base, soft, head).logits(TEXTS, probabilities=uniform), expected, atol=1e-4)
    np.testing.assert_allclose(with_head(base, soft, head), expected, atol=1e-4)


def test_every_text_is_mixed_on_its_own(made: tuple[Path, Path, list[LocalAdapter]]) -> None:
    base, soft, _ = made
    mixture = SoftMixture(base, soft, soft / "heads" / "a--0.safetensors")
    shares = mixture.probabilities(TEXTS)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert np.ptp(shares, axis=0).max() > 1e-3
    together = mixture.logits(TEXTS)
    for number in (0, 4, 8):
        np.testing.assert_allclose(mixture.logits([TEXTS[number]])[0], together[number], atol=1e-4)


def test_a_plain_adapter_is_no_mixture(made: tuple[Path, Path, list[LocalAdapter]]) -> None:
    base, _, inputs = made
    with pytest.raises(RuntimeFault, match="no soft mixture"):
        SoftMixture(base, inputs[0].folder)
