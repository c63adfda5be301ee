"""Fisher and RegMean against their closed forms and least squares; Iso-CTS, Breadcrumbs and shared bases."""

import numpy as np
import pytest

from merges.methods import METHODS, Layer, Source
from merges.methods.declaration import Statistics
from merges.methods.deltas import Delta, Dense, LowRank, dense
from merges.methods.spaces import project

RANDOM = np.random.default_rng(3)


def low_rank(seed: int, rank: int = 3, rows: int = 20, columns: int = 16) -> LowRank:
    random = np.random.default_rng(seed)
    return LowRank(random.normal(size=(rows, rank)), random.normal(size=(rank, columns)))


def run(
    name: str,
    deltas: list[Delta],
    statistics: list[Statistics] | None = None,
    weights: list[float] | None = None,
    space: str = "dense",
    **given: object,
) -> np.ndarray:
    method = METHODS[name]
    parameters = method.filled(({"lambda": 1.0} if method.parameter("lambda") else {}) | given, len(deltas))
    known = statistics or [Statistics()] * len(deltas)
    sources = [
        Source(delta, weight, f"input {n}", parameters, None, known[n])
        for n, (delta, weight) in enumerate(zip(deltas, weights or [1.0] * len(deltas), strict=True))
    ]
    layer, back = project(Layer("q", deltas[0].shape, tuple(sources)), space)
    return dense(back(method.run(layer, parameters)))


def fisher_of(values: np.ndarray) -> Statistics:
    length = float(np.linalg.norm(values))
    return Statistics(fisher=Dense((values / length).astype(np.float32)), fisher_norm=length)


def test_equal_fishers_give_the_weighted_mean() -> None:
    deltas = [low_rank(n) for n in range(3)]
    importance = fisher_of(RANDOM.uniform(0.5, 1.0, (20, 16)))
    expected = sum(w * dense(d) for w, d in zip((1.0, 2.0, 3.0), deltas, strict=True)) / 6
    np.testing.assert_allclose(run("fisher", deltas, [importance] * 3, [1.0, 2.0, 3.0]), expected, atol=1e-5)
    np.testing.assert_allclose(run("fisher", deltas), sum(map(dense, deltas)) / 3, atol=1e-5)


def test_an_entry_that_matters_to_one_input_alone_takes_its_value() -> None:
    one, other = Dense(np.full((1, 2), 5.0)), Dense(np.full((1, 2), -1.0))
    importance = [fisher_of(np.array([[1e6, 0.0]])), fisher_of(np.array([[0.0, 1e6]]))]
    np.testing.assert_allclose(run("fisher", [one, other], importance), [[5.0, -1.0]], atol=1e-4)


def test_scaling_a_fisher_is_scaling_its_weight_when_not_normalised() -> None:
    deltas, values = [low_rank(n) for n in range(2)], [RANDOM.uniform(0.1, 1.0, (20, 16)) for _ in range(2)]
    scaled = run("fisher", deltas, [fisher_of(3 * values[0]), fisher_of(values[1])], normalize="none")
    weighed = run("fisher", deltas, [fisher_of(value) for value in values], [3.0, 1.0], normalize="none")
    np.testing.assert_allclose(scaled, weighed, atol=1e-5)


def grams(count: int, columns: int = 16, tokens: int = 50) -> tuple[list[np.ndarray], list[Statistics]]:
    inputs = [RANDOM.normal(size=(tokens, columns)) * RANDOM.uniform(0.2, 2.0, columns) for _ in range(count)]
    return inputs, [Statistics(gram=x.T @ x / tokens) for x in inputs]


def test_regmean_minimises_the_distance_to_every_inputs_outputs() -> None:
    deltas = [low_rank(n) for n in range(2)]
    inputs, statistics = grams(2)
    found = run("regmean", deltas, statistics, off_diagonal=1.0, ridge=1e-12)
    stacked = np.concatenate(inputs)
    outputs = np.concatenate([x @ dense(delta).T for x, delta in zip(inputs, deltas, strict=True)])
    best = np.linalg.lstsq(stacked, outputs, rcond=None)[0].T
    np.testing.assert_allclose(found, best, atol=1e-4)


def test_regmean_of_equal_grams_is_the_mean_and_factored_equals_dense() -> None:
    deltas = [low_rank(n) for n in range(3)]
    _, statistics = grams(3)
    mean = sum(map(dense, deltas)) / 3
    np.testing.assert_allclose(run("regmean", deltas, [statistics[0]] * 3, ridge=1e-12), mean, atol=1e-4)
    multiplied = run("regmean", [Dense(dense(delta)) for delta in deltas], statistics)
    np.testing.assert_allclose(run("regmean", deltas, statistics), multiplied, atol=1e-4)


def test_regmean_without_off_diagonals_equals_diagonal_grams() -> None:
    deltas = [low_rank(n) for n in range(2)]
    _, statistics = grams(2)
    diagonal = [Statistics(gram=one.gram.diagonal()) for one in statistics]
    np.testing.assert_allclose(
        run("regmean", deltas, statistics, off_diagonal=0.0), run("regmean", deltas, diagonal), atol=1e-5
    )


def test_iso_cts_is_flat_and_turns_with_its_inputs() -> None:
    deltas = [low_rank(n) for n in range(2)]
    merged = run("iso_cts", deltas, common=0.5)
    spectrum = np.linalg.svd(merged.astype(float), compute_uv=False)
    np.testing.assert_allclose(spectrum[:6], spectrum[0], rtol=1e-4)
    q, _ = np.linalg.qr(RANDOM.normal(size=(20, 20)))
    turned = [LowRank(q @ delta.left, delta.right) for delta in deltas]
    np.testing.assert_allclose(run("iso_cts", turned, common=0.5), q @ merged, atol=1e-4)


def test_iso_cts_with_everything_common_is_iso_c() -> None:
    deltas = [low_rank(n) for n in range(3)]
    np.testing.assert_allclose(run("iso_cts", deltas, common=1.0), run("iso_c", deltas), atol=1e-5)


def test_iso_cts_takes_the_papers_steps() -> None:
    """Against the steps of the paper written out in full space."""
    deltas, common = [low_rank(n) for n in range(2)], 2
    u, s, vt = np.linalg.svd(sum(map(dense, deltas)).astype(float), full_matrices=False)
    lefts, sigmas, rights = [u[:, :common]], [s[:common]], [vt[:common]]
    for delta in deltas:
        rest = dense(delta) - u[:, :common] @ u[:, :common].T @ dense(delta)
        left, sigma, right = np.linalg.svd(rest, full_matrices=False)
        lefts, sigmas, rights = [*lefts, left[:, :2]], [*sigmas, sigma[:2]], [*rights, right[:2]]
    p, _, qt = np.linalg.svd(np.concatenate(lefts, axis=1), full_matrices=False)
    r, _, tt = np.linalg.svd(np.concatenate(rights, axis=0), full_matrices=False)
    expected = np.concatenate(sigmas).mean() * (p @ qt) @ (r @ tt)
    np.testing.assert_allclose(run("iso_cts", deltas, common=1 / 3), expected, atol=1e-4)


def test_breadcrumbs_leaves_out_both_ends() -> None:
    values = np.array([[9.0, -8.0, 5.0, 4.0, -3.0, 2.0, 1.0, 0.5, 0.25, 0.125]])
    kept = run("breadcrumbs", [Dense(values)], density=0.4, gamma=0.2)
    np.testing.assert_allclose(kept, [[0, 0, 5, 4, -3, 2, 0, 0, 0, 0]])
    delta = low_rank(1)
    np.testing.assert_allclose(run("breadcrumbs", [delta], density=1.0, gamma=0.0), dense(delta), atol=1e-5)


@pytest.mark.parametrize("space", ["core", "knots"])
def test_linear_merges_are_the_same_in_every_space(space: str) -> None:
    deltas = [low_rank(0), low_rank(1, rank=5), LowRank(np.zeros((20, 0)), np.zeros((0, 16)))]
    given = {"density": 1.0, "normalize": "none"}
    expected = 0.5 * sum(map(dense, deltas))
    np.testing.assert_allclose(run("dare", deltas, space=space, **{"lambda": 0.5, "density": 1.0}), expected, atol=1e-5)
    agreeing = [low_rank(0)] * 2
    np.testing.assert_allclose(run("ties", agreeing, space=space, **given), 2 * dense(agreeing[0]), atol=1e-4)


@pytest.mark.parametrize("space", ["core", "knots"])
def test_a_shared_basis_keeps_the_rank_and_the_bytes(space: str) -> None:
    deltas = [low_rank(n) for n in range(3)]
    merged = run("ties", deltas, space=space)
    assert np.linalg.matrix_rank(merged, tol=1e-3) <= 9
    gauged = [LowRank(delta.left * 4.0, delta.right / 4.0) for delta in deltas]
    np.testing.assert_allclose(run("ties", gauged, space=space), merged, atol=1e-4)


def test_knots_coordinates_are_those_of_the_wide_svd() -> None:
    deltas = [low_rank(n) for n in range(2)]
    layer, _ = project(Layer("q", (20, 16), tuple(Source(delta, 1.0, "") for delta in deltas)), "knots")
    joined = np.concatenate([dense(source.delta) for source in layer.sources], axis=1)
    wide = np.linalg.svd(np.concatenate([dense(delta) for delta in deltas], axis=1), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), wide[: layer.shape[0]], rtol=1e-4)


# The draws of DARE and DELLA belong to the inputs' names, which the order gives here.
@pytest.mark.parametrize(
    "name",
    [name for name, method in METHODS.items() if method.inputs_maximum is None and name not in ("dare", "della")],
)
def test_the_order_of_inputs_does_not_matter(name: str) -> None:
    deltas: list[Delta] = [low_rank(n) for n in range(3)]
    _, statistics = grams(3)
    backward = run(name, deltas[::-1], statistics[::-1])
    np.testing.assert_allclose(run(name, deltas, statistics), backward, atol=1e-4)
