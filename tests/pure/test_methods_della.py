"""DELLA against the paper's words, written out slowly, and against DARE where the two are one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merges.methods import METHODS, Layer, Source
from merges.methods.della import chances
from merges.methods.deltas import Dense, dense
from merges.recipes import parse

DELLA, DARE = METHODS["della"], METHODS["dare"]


def layer_of(matrices: list[np.ndarray], weights: list[float], parameters: dict) -> Layer:
    sources = [
        Source(Dense(matrix.astype(np.float32)), weight, f"input {number}", parameters)
        for number, (matrix, weight) in enumerate(zip(matrices, weights, strict=True))
    ]
    return Layer("q", matrices[0].shape, tuple(sources))


def merged(method: str, matrices: list[np.ndarray], weights: list[float], **given_: object) -> np.ndarray:
    parameters = METHODS[method].filled({"lambda": 1.0} | given_, len(matrices))
    return dense(METHODS[method].run(layer_of(matrices, weights, parameters), parameters))


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(-5, 5), min_size=7, max_size=7), min_size=1, max_size=3), st.floats(0.2, 0.8))
def test_chances_rise_evenly_with_the_rank_in_the_row(rows: list[list[int]], density: float) -> None:
    values, window = np.array(rows, np.float32), 0.15
    for row, got in zip(values, chances(values, density, window), strict=True):
        expected = np.empty(7)
        ranked = sorted(range(7), key=lambda column: (abs(row[column]), column))
        for rank, column in enumerate(ranked):
            expected[column] = (density - window) + 2 * window * rank / 6
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("combine", ["linear", "ties"])
def test_without_a_window_it_is_dare(combine: str) -> None:
    random = np.random.default_rng(0)
    matrices = [random.normal(size=(9, 6)) for _ in range(3)]
    given_ = {"density": 0.4, "combine": combine, "seed": 7}
    one = merged("della", matrices, [1.0, 0.5, -0.3], window=0.0, **given_)
    np.testing.assert_allclose(one, merged("dare", matrices, [1.0, 0.5, -0.3], **given_), rtol=1e-5, atol=1e-6)


def test_it_is_unbiased_and_keeps_large_entries_more_often() -> None:
    matrix = np.random.default_rng(1).normal(size=(6, 8))
    runs = np.array([
        merged("della", [matrix], [1.0], density=0.4, window=0.3, combine="linear", seed=seed) for seed in range(400)
    ])  # fmt: skip
    likely = chances(matrix.astype(np.float32), 0.4, 0.3)
    spread = np.abs(matrix) * np.sqrt((1 - likely) / likely / 400)
    assert (np.abs(runs.mean(axis=0) - matrix) <= 4.5 * spread + 1e-5).all()
    kept = (runs != 0).mean(axis=0)
    np.testing.assert_allclose(kept, likely, atol=0.13)
    assert kept.max(axis=1).min() > kept.min(axis=1).max()


def test_l1_keeps_the_sum_of_sizes_and_none_leaves_survivors_alone() -> None:
    matrix = np.random.default_rng(3).normal(size=(6, 8)).astype(np.float32)
    given_ = {"density": 0.4, "combine": "linear"}
    kept = merged("della", [matrix], [1.0], rescale="none", **given_)
    np.testing.assert_array_equal(kept[kept != 0], matrix[kept != 0])
    scaled = merged("della", [matrix], [1.0], rescale="l1", **given_)
    np.testing.assert_allclose(np.abs(scaled).sum(), np.abs(matrix).sum(), rtol=1e-5)
    np.testing.assert_array_equal(scaled != 0, kept != 0)


def test_mergekits_della_is_understood() -> None:
    entries = [{"model": "a/one", "parameters": {"weight": 0.5, "density": 0.6}}, {"model": "a/two"}]
    recipe = parse({"merge_method": "della", "base_model": "a/base", "models": entries, "parameters": {"epsilon": 0.1}})
    assert [entry.parameters for entry in recipe.inputs] == [
        {"density": 0.6, "window": 0.1}, {"density": 1.0, "window": 0.0},
    ]  # fmt: skip
    assert (recipe.method, recipe.parameters["rescale"], recipe.parameters["normalize"]) == ("della", "l1", "weight")


def test_whole_density_without_window_is_task_arithmetic() -> None:
    matrices = [np.random.default_rng(seed).normal(size=(5, 4)) for seed in range(2)]
    whole = merged("della", matrices, [0.5, 2.0], density=1.0, window=0.0, combine="linear")
    np.testing.assert_allclose(whole, merged("task_arithmetic", matrices, [0.5, 2.0]), atol=1e-6)
