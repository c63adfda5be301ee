"""TSV-M and Iso-C: what their papers promise about singular values and orthogonal inputs."""

import numpy as np

from merges.methods import METHODS, Layer, Source
from merges.methods.deltas import LowRank, dense
from merges.methods.tsv_m import nearest_orthonormal


def run(name: str, deltas: list[LowRank], weights: list[float] | None = None) -> np.ndarray:
    method = METHODS[name]
    parameters = method.filled({"lambda": 1.0}, len(deltas))
    weights = weights or [1.0] * len(deltas)
    sources = [Source(delta, weight, str(n)) for n, (delta, weight) in enumerate(zip(deltas, weights, strict=True))]
    return dense(method.run(Layer("q", deltas[0].shape, tuple(sources)), parameters))


def orthogonal(rows: int, columns: int, seed: int) -> np.ndarray:
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(rows, columns)))
    return basis


def random_delta(seed: int) -> LowRank:
    random = np.random.default_rng(seed)
    return LowRank(random.normal(size=(20, 3)), random.normal(size=(3, 16)))


def test_tsv_m_of_orthogonal_updates_is_their_sum() -> None:
    left, right = orthogonal(20, 6, 0), orthogonal(16, 6, 1)
    deltas = [LowRank(left[:, part] * [3.0, 2.0, 1.0], right[:, part].T) for part in (slice(0, 3), slice(3, 6))]
    np.testing.assert_allclose(run("tsv_m", deltas), sum(map(dense, deltas)), atol=1e-5)


def test_tsv_m_equals_the_formula_in_full_space() -> None:
    deltas, weights = [random_delta(seed) for seed in range(3)], [1.0, -0.5, 2.0]
    parts = []
    for delta, weight in zip(deltas, weights, strict=True):
        u, s, vt = np.linalg.svd(delta.left @ delta.right, full_matrices=False)
        parts.append((u[:, :3], weight * s[:3], vt[:3]))
    p, _, qt = np.linalg.svd(np.concatenate([u for u, _, _ in parts], axis=1), full_matrices=False)
    r, _, tt = np.linalg.svd(np.concatenate([vt for _, _, vt in parts], axis=0), full_matrices=False)
    expected = (p @ qt) @ np.diag(np.concatenate([s for _, s, _ in parts])) @ (r @ tt)
    np.testing.assert_allclose(run("tsv_m", deltas, weights), expected, atol=1e-4)


def test_nearest_orthonormal_leaves_out_what_is_not_there() -> None:
    basis = orthogonal(12, 3, 2)
    twice = np.concatenate([basis, basis[:, :1]], axis=1)
    result = nearest_orthonormal(twice)
    assert np.abs(result).max() <= 1.0
    np.testing.assert_allclose(nearest_orthonormal(basis), basis, atol=1e-12)


def test_iso_c_makes_the_spectrum_flat_with_the_same_mean() -> None:
    deltas = [random_delta(seed) for seed in range(2)]
    before = np.linalg.svd(sum(delta.left @ delta.right for delta in deltas), compute_uv=False)[:6]
    after = np.linalg.svd(run("iso_c", deltas).astype(float), compute_uv=False)
    np.testing.assert_allclose(after[:6], before.mean(), rtol=1e-5)
    assert after[6:].max() < 1e-4


def test_iso_c_turns_with_its_inputs_and_does_not_feel_noise() -> None:
    deltas = [random_delta(seed) for seed in range(2)]
    q, p = orthogonal(20, 20, 5), orthogonal(16, 16, 6)
    turned = [LowRank(q @ delta.left, delta.right @ p) for delta in deltas]
    np.testing.assert_allclose(run("iso_c", turned), q @ run("iso_c", deltas) @ p, atol=1e-4)
    noise = [LowRank(delta.left + 1e-12, delta.right) for delta in deltas]
    np.testing.assert_allclose(run("iso_c", noise), run("iso_c", deltas), atol=1e-5)
