"""The same tensors through mergekit 0.1.5 itself, in its own environment (MERGEKIT_PYTHON); skipped without one."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from merges.methods import METHODS, Layer, Source
from merges.methods.deltas import Dense, dense
from merges.recipes import parse

PYTHON = os.environ.get("MERGEKIT_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="MERGEKIT_PYTHON does not name a Python with mergekit 0.1.5.")
ORACLE = """
import sys
import numpy as np, torch
from mergekit.merge_methods import merge_tensors
given = np.load(sys.argv[1])
base, models, weights = given["base"], given["models"], [float(w) for w in given["weights"]]
tensors = [torch.from_numpy(base), *map(torch.from_numpy, models)]
results = {}
for method, shared, own in (
    ("task_arithmetic", {"lambda": 0.7}, {}),
    ("ties", {"lambda": 0.7, "normalize": True}, {"density": 0.3}),
    ("ties", {"lambda": 0.7, "normalize": False}, {"density": 0.3}),
    ("breadcrumbs", {"lambda": 0.7, "normalize": False}, {"density": 0.8, "gamma": 0.05}),
    ("linear", {"normalize": True}, {}),
):
    used = tensors[1:] if method == "linear" else tensors
    parameters = {**shared, "weight": weights, **{k: [v] * len(weights) for k, v in own.items()}}
    merged = merge_tensors(used, method, parameters=parameters, base_index=None if method == "linear" else 0,
                           dtype=torch.float32)
    results[f"{method}-{shared.get('normalize')}"] = merged.numpy()
np.savez(sys.argv[2], **results)
"""


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, list[np.ndarray], list[float], dict]:
    folder: Path = tmp_path_factory.mktemp("mergekit")
    random = np.random.default_rng(0)
    base = random.normal(size=(37, 29)).astype(np.float32)
    models = np.stack([base + random.normal(size=base.shape).astype(np.float32) * 0.1 for _ in range(3)])
    weights = [1.0, 0.5, 2.0]
    np.savez(folder / "given.npz", base=base, models=models, weights=weights)
    subprocess.run([PYTHON, "-c", ORACLE, str(folder / "given.npz"), str(folder / "out.npz")], check=True)
    return base, list(models), weights, dict(np.load(folder / "out.npz"))


@pytest.mark.parametrize(
    ("method", "ours", "given"),
    [
        ("task_arithmetic-None", "task_arithmetic", {"lambda": 0.7}),
        ("ties-True", "ties", {"lambda": 0.7, "density": 0.3}),
        ("ties-False", "ties", {"lambda": 0.7, "density": 0.3, "normalize": "none"}),
        ("breadcrumbs-False", "breadcrumbs", {"lambda": 0.7, "density": 0.8, "gamma": 0.05}),
        ("linear-True", "mean", {}),
    ],
)
def test_the_same_merge(
    method: str, ours: str, given: dict, oracle: tuple[np.ndarray, list[np.ndarray], list[float], dict]
) -> None:
    base, models, weights, results = oracle
    parameters = METHODS[ours].filled(given, len(models))
    sources = [
        Source(Dense(model - base), weight, "", parameters) for model, weight in zip(models, weights, strict=True)
    ]
    merged = base + dense(METHODS[ours].run(Layer("w", base.shape, tuple(sources)), parameters))
    np.testing.assert_allclose(merged, results[method], atol=2e-6)


def test_imported_recipes_mean_the_same() -> None:
    raw = {
        "merge_method": "breadcrumbs", "base_model": "a/base", "parameters": {"gamma": 0.05, "lambda": 0.7},
        "models": [{"model": "a/one", "parameters": {"weight": 1.0, "density": 0.8}}, {"model": "a/two"}],
    }  # fmt: skip
    recipe = parse(raw)
    assert (recipe.method, recipe.parameters["gamma"], recipe.inputs[0].parameters) == (
        "breadcrumbs",
        0.05,
        {"density": 0.8},
    )
