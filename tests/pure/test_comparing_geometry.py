"""Singular task interference and subspace alignment where the answer is known."""

from pathlib import Path

import numpy as np
import pytest

from merges.comparing.geometry import alignment, interference
from merges.comparing.judge import Verdict, ensemble
from merges.running import LocalAdapter
from tests.make_adapters import lora_config, write_adapter

WIDTH = 12
MODULE = "base_model.model.encoder.layer.0.attention.self.query"


def adapter(folder: Path, left: np.ndarray, right: np.ndarray, name: str) -> LocalAdapter:
    config = lora_config(r=left.shape[1], lora_alpha=left.shape[1], target_modules=["query"], modules_to_save=None)
    tensors = {
        f"{MODULE}.lora_{part}.weight": np.ascontiguousarray(values, np.float32)
        for part, values in (("A", right), ("B", left))
    }
    write_adapter(folder / name, config, tensors)
    return LocalAdapter(f"a/{name}", folder / name)


def directions(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns and rows that no other `start` shares."""
    random = np.random.default_rng(0)
    turned = [np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0] for _ in range(2)]
    return turned[0][:, start : start + count], turned[1][:, start : start + count].T


def test_inputs_that_share_no_direction_do_not_interfere(tmp_path: Path) -> None:
    apart = [adapter(tmp_path, *directions(3 * n, 3), name=f"apart{n}") for n in range(3)]
    assert interference(apart) == pytest.approx(0, abs=1e-5)


def test_interference_is_the_written_formula(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    factors = [(random.normal(size=(WIDTH, 2)), random.normal(size=(2, WIDTH))) for _ in range(3)]
    inputs = [adapter(tmp_path, *pair, name=f"any{n}") for n, pair in enumerate(factors)]
    parts = [np.linalg.svd(left.astype(np.float32) @ right.astype(np.float32)) for left, right in factors]
    left = np.concatenate([u[:, :2] for u, _, _ in parts], axis=1)
    right = np.concatenate([vt[:2].T for _, _, vt in parts], axis=1)
    sigma = np.diag(np.concatenate([s[:2] for _, s, _ in parts]))
    expected = np.abs((left.T @ left - np.eye(6)) @ sigma @ (right.T @ right - np.eye(6))).sum()
    assert interference(inputs) == pytest.approx(expected, rel=1e-4)


def test_alignment_is_one_for_what_the_merge_holds_and_zero_for_what_it_lacks(tmp_path: Path) -> None:
    kept, other = directions(0, 3), directions(3, 3)
    inputs = [adapter(tmp_path, *kept, name="kept"), adapter(tmp_path, *other, name="other")]
    both = adapter(tmp_path, np.concatenate([kept[0], other[0]], 1), np.concatenate([kept[1], other[1]]), "both")
    assert alignment(inputs, inputs[0].folder) == pytest.approx([1.0, 0.0], abs=1e-5)
    assert alignment(inputs, both.folder) == pytest.approx([1.0, 1.0], abs=1e-5)
    # what is within the 5 % that the leading directions may leave out does not count as held
    faint = adapter(
        tmp_path, np.concatenate([kept[0], 0.01 * other[0]], 1), np.concatenate([kept[1], other[1]]), "faint"
    )
    assert alignment(inputs, faint.folder) == pytest.approx([1.0, 0.0], abs=1e-4)


def test_an_ensemble_averages_log_probabilities() -> None:
    one, other = np.log([[0.9, 0.1], [0.4, 0.6]]), np.log([[0.2, 0.8], [0.3, 0.7]])
    both = ensemble([Verdict(one, np.array([0, 1])), Verdict(other, np.array([0, 1]))])
    products = np.sqrt(np.exp(one) * np.exp(other))
    np.testing.assert_allclose(np.exp(both.scores), products / products.sum(1, keepdims=True))
    assert both.right.tolist() == [bool(products[0, 0] > products[0, 1]), True]
