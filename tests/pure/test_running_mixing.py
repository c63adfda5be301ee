"""A soft mixture against its experts: one-hot is the expert, uniform is the mean, rows do not touch each other."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.runtime import Runtime
from merges.recipes import RecipeError, parse
from merges.running import LocalAdapter, run
from merges.running.mixing import SoftMixture, adapted
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


def per_module(inputs: list[LocalAdapter], folder: Path) -> Path:
    select = {"tasks": ["a/task"]}
    names = [item.name for item in inputs]
    recipe = parse(
        {"merge_method": "soft_moe", "inputs": names, "parameters": {"router": "per_module"}, "select": select}
    )
    run(recipe, inputs, folder, lambda *_: None)
    return folder


def test_routers_for_each_module_begin_as_the_mean(made: tuple[Path, Path, list[LocalAdapter]], tmp_path: Path) -> None:
    base, soft, inputs = made
    folder = per_module(inputs, tmp_path / "soft")
    head = folder / "heads" / "a--1.safetensors"
    mixture = SoftMixture(base, folder, head)
    np.testing.assert_allclose(mixture.probabilities(TEXTS), 1 / COUNT, atol=1e-7)
    uniform = np.full((len(TEXTS), COUNT), 1 / COUNT)
    expected = SoftMixture(base, soft, head).logits(TEXTS, probabilities=uniform)
    np.testing.assert_allclose(mixture.logits(TEXTS), expected, atol=1e-5)


def test_routers_for_each_module_against_the_written_formula(
    made: tuple[Path, Path, list[LocalAdapter]], tmp_path: Path
) -> None:
    """One text at a time, every module: y = W0 x + Σ softmax(W x̄ + b)ᵢ sᵢ Bᵢ Aᵢ x, the experts out of their own files."""
    base, _, inputs = made
    folder = per_module(inputs, tmp_path / "soft")
    head, random = folder / "heads" / "a--0.safetensors", np.random.default_rng(3)
    runtime = Runtime(base)
    runtime.attach("zero", folder, head)
    model, forward = runtime.differentiable("zero")
    routers, tensors = {}, load_file(folder / "router.safetensors")
    for site, width in adapted(model).items():
        routers[site] = (random.normal(size=(COUNT, width)) * 3, random.normal(size=COUNT))
        tensors[f"{site}.weights"], tensors[f"{site}.bias"] = (part.astype(np.float32) for part in routers[site])
    save_file(tensors, folder / "router.safetensors")
    experts = [load_file(item.folder / "adapter_model.safetensors") for item in inputs]
    scales = [json.loads((item.folder / "adapter_config.json").read_text()) for item in inputs]

    def formula(site: str) -> Any:
        def hook(module: Any, args: tuple[torch.Tensor, ...], _output: torch.Tensor) -> torch.Tensor:
            x = args[0][0].double().numpy()
            mean = x.mean(0) / np.linalg.norm(x.mean(0))
            scores = np.exp(routers[site][0] @ mean + routers[site][1])
            result = module.get_base_layer()(args[0])[0].double().numpy()
            for share, expert, config in zip(scores / scores.sum(), experts, scales, strict=True):
                down, up = (expert[f"base_model.model.{site}.lora_{part}.weight"].astype(np.float64) for part in "AB")
                result += share * config["lora_alpha"] / config["r"] * x @ down.T @ up.T
            return torch.tensor(result[None], dtype=torch.float32)

        return hook

    sites = {f"base_model.model.{site}": site for site in routers}
    handles = [m.register_forward_hook(formula(sites[n])) for n, m in model.named_modules() if n in sites]
    expected = [forward(**runtime.tokenizer([text], return_tensors="pt")).logits[0].detach() for text in TEXTS]
    for handle in handles:
        handle.remove()
    mixture = SoftMixture(base, folder, head)
    np.testing.assert_allclose(mixture.logits(TEXTS), np.stack(expected), atol=2e-4)
    said = mixture.module_probabilities(TEXTS)
    assert set(said) == set(routers)
    for shares in said.values():
        np.testing.assert_allclose(shares.sum(1), 1.0, atol=1e-6)
    assert np.std(list(said.values()), axis=0).max() > 0.05, "modules decide on their own"


def test_untaught_routers_for_each_module_are_refused(
    made: tuple[Path, Path, list[LocalAdapter]], tmp_path: Path
) -> None:
    names = [item.name for item in made[2]]
    recipe = parse({"merge_method": "soft_moe", "inputs": names, "parameters": {"router": "per_module"}})
    with pytest.raises(RecipeError, match="have to be taught"):
        run(recipe, made[2], tmp_path / "no", lambda *_: None)
