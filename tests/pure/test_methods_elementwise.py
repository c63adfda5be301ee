"""TIES and DARE against slow, plain implementations of the papers' formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merges.methods import METHODS, Layer, Source, deltas, trimming
from merges.methods.deltas import Dense, LowRank, dense
from merges.methods.trimming import cut, kept_count

values = st.integers(-4, 4)


def layer_of(matrices: list[np.ndarray], weights: list[float], parameters: dict, keep: list | None = None) -> Layer:
    keep = keep or [None] * len(matrices)
    sources = [
        Source(Dense(matrix.astype(np.float32)), weight, f"input {number}", parameters, kept)
        for number, (matrix, weight, kept) in enumerate(zip(matrices, weights, keep, strict=True))
    ]
    return Layer("q", matrices[0].shape, tuple(sources))


def plain_trim(matrix: np.ndarray, density: float) -> np.ndarray:
    """Keep the max(1, ⌊density·n⌋) largest by a full stable sort."""
    flat = matrix.ravel()
    order = np.argsort(-np.abs(flat), kind="stable")[: max(1, int(density * flat.size))]
    result = np.zeros_like(flat)
    result[order] = flat[order]
    return result.reshape(matrix.shape)


def plain_ties(
    matrices: list[np.ndarray], weights: list[float], density: float, normalize: str, zero_sign: str
) -> np.ndarray:
    """Entry by entry, in float64."""
    trimmed = [plain_trim(matrix.astype(float), density) for matrix in matrices]
    sums = sum(weight * matrix for weight, matrix in zip(weights, trimmed, strict=True))
    majority = 1.0 if zero_sign == "plus" or np.sign(sums).sum() >= 0 else -1.0
    result = np.zeros(matrices[0].shape)
    for place in np.ndindex(*result.shape):
        sign = np.sign(sums[place]) or majority
        agreeing = [(w, w * m[place]) for w, m in zip(weights, trimmed, strict=True) if w * m[place] * sign > 0]
        divisor = {"weight": sum(abs(w) for w, _ in agreeing), "count": len(agreeing), "none": 1}[normalize]
        result[place] = sum(value for _, value in agreeing) / divisor if agreeing else 0.0
    return result


@settings(max_examples=60)
@given(
    st.lists(st.lists(values, min_size=12, max_size=12), min_size=1, max_size=4),
    st.sampled_from([0.1, 0.2, 0.5, 1.0]),
    st.sampled_from(["weight", "count", "none"]),
    st.sampled_from(["plus", "majority"]),
    st.lists(st.sampled_from([1.0, 0.5, 2.0, -1.0]), min_size=4, max_size=4),
)
def test_ties_equals_the_plain_formula_even_on_equal_values(
    rows: list[list[int]], density: float, normalize: str, zero_sign: str, weights: list[float]
) -> None:
    matrices = [np.array(row, float).reshape(3, 4) for row in rows]
    weights = weights[: len(matrices)]
    given_ = {"density": density, "normalize": normalize, "zero_sign": zero_sign, "lambda": 1.0}
    parameters = METHODS["ties"].filled(given_, len(matrices))
    result = METHODS["ties"].run(layer_of(matrices, weights, parameters), parameters)
    np.testing.assert_allclose(dense(result), plain_ties(matrices, weights, density, normalize, zero_sign), atol=1e-5)


def test_opposite_signs_leave_the_heavier_side_alone() -> None:
    matrices = [np.array([[2.0, 3.0]]), np.array([[-2.0, 1.0]])]
    parameters = METHODS["ties"].filled({"density": 1.0}, 2)
    result = dense(METHODS["ties"].run(layer_of(matrices, [1.0, 1.0], parameters), parameters))
    assert result.tolist() == [[2.0, 2.0]]  # an exact tie goes to plus, and the loser does not dilute it


@given(st.lists(values, min_size=1, max_size=40), st.integers(0, 45))
def test_a_cut_keeps_exactly_k_entries_first_ones_first(entries: list[int], keep: int) -> None:
    matrix = np.array([entries], np.float32)
    one = cut(Dense(matrix), keep)
    kept = np.abs(one.trimmed(matrix, 0)).ravel()
    expected = np.sort(np.abs(matrix).ravel())[::-1][:keep]
    np.testing.assert_array_equal(np.sort(kept)[::-1][: len(expected)], expected)
    assert np.count_nonzero(kept) == np.count_nonzero(expected)
    threshold = expected[-1] if keep else np.inf
    places = np.flatnonzero((np.abs(matrix).ravel() == threshold) & (kept == 0))
    equal = np.flatnonzero((np.abs(matrix).ravel() == threshold) & (kept > 0))
    assert threshold == 0 or not (places.size and equal.size) or places.min() > equal.max()


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["smooth", "few sizes", "sorted rows", "one row", "mostly zero", "one size"]),
    st.floats(0.001, 0.999),
)
def test_a_sampled_bracket_never_changes_what_is_cut(seed: int, kind: str, density: float) -> None:
    """Matrices larger than what is sampled, of shapes that lead a sample astray, against numpy's own selection."""
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((1 if kind == "one row" else 600, 90), dtype=np.float32)
    if kind == "few sizes":
        matrix = np.round(matrix * 2)
    elif kind == "sorted rows":
        matrix *= np.linspace(0, 1, len(matrix), dtype=np.float32)[:, None] ** 8
    elif kind == "mostly zero":
        matrix *= random.random(matrix.shape) < 0.01
    elif kind == "one size":
        matrix = np.sign(matrix)
    keep = kept_count(matrix.size, density)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trimming, "SAMPLED_VALUES", 2000)
        one = cut(Dense(matrix), keep)
    sizes = np.abs(matrix).ravel()
    threshold = np.partition(sizes, sizes.size - keep)[sizes.size - keep]
    expected = sizes > threshold
    expected[np.flatnonzero(sizes == threshold)[: keep - expected.sum()]] = True
    kept = one.trimmed(matrix, 0).ravel()
    np.testing.assert_array_equal(kept, np.where(expected, matrix.ravel(), 0))
    halves = [one.trimmed(part, start * matrix.shape[1]) for start, part in ((0, matrix[:250]), (250, matrix[250:]))]
    np.testing.assert_array_equal(np.concatenate(halves).ravel(), kept)


@pytest.mark.parametrize("method", ["ties", "dare", "breadcrumbs", "task_arithmetic"])
def test_nan_is_not_trimmed_away(method: str) -> None:
    """It has to reach the result, where it is refused by name."""
    matrices = [np.ones((4, 5)), np.ones((4, 5))]
    matrices[1][2, 3] = np.nan
    parameters = METHODS[method].filled({}, 2)
    result = dense(METHODS[method].run(layer_of(matrices, [1.0, 1.0], parameters), parameters))
    assert np.isnan(result[2, 3])


@settings(max_examples=40)
@given(st.lists(st.lists(values, min_size=6, max_size=6), min_size=3, max_size=3), st.sampled_from([0.1, 0.4, 1.0]))
def test_global_trimming_keeps_the_largest_of_all_layers_together(rows: list[list[int]], density: float) -> None:
    method = METHODS["ties"]
    parameters = method.filled({"trim_scope": "global", "density": density}, 1)
    layers = [
        Layer(f"l{n}", (2, 3), layer_of([np.array(row, float).reshape(2, 3)], [1.0], parameters).sources)
        for n, row in enumerate(rows)
    ]
    assert method.survey is not None
    keep = method.survey(lambda: iter(layers), parameters)
    trimmed = np.concatenate(
        [cut(one.sources[0].delta, keep[one.name][0]).trimmed(dense(one.sources[0].delta), 0) for one in layers]
    )
    whole = plain_trim(np.array(rows, float), density).reshape(-1, 3)
    np.testing.assert_array_equal(trimmed, whole)


@pytest.mark.parametrize("given", [{}, {"combine": "ties"}, {"rescale": "l1"}])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_size_of_row_blocks_does_not_matter(
    given: dict[str, object], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    matrices = [random.normal(size=(30, 5)) for _ in range(3)]
    for name in ("dare", "ties"):
        parameters = METHODS[name].filled(given if name == "dare" else {}, 3)
        layer = layer_of(matrices, [1.0, 0.5, 2.0], parameters)
        expected = dense(METHODS[name].run(layer, parameters))
        with monkeypatch.context() as patch:
            patch.setattr(deltas, "BLOCK_VALUES", 5 * rows)
            np.testing.assert_array_equal(dense(METHODS[name].run(layer, parameters)), expected)


def test_dare_is_unbiased_over_seeds() -> None:
    matrix = np.random.default_rng(1).normal(size=(6, 5))
    runs = []
    for seed in range(200):
        parameters = METHODS["dare"].filled({"density": 0.3, "lambda": 1.0, "seed": seed}, 1)
        runs.append(dense(METHODS["dare"].run(layer_of([matrix], [1.0], parameters), parameters)))
    error = np.abs(np.mean(runs, axis=0) - matrix)
    spread = np.abs(matrix) * np.sqrt(0.7 / 0.3 / 200)
    assert (error <= 4 * spread + 1e-6).all()


def test_dare_draws_differ_between_inputs_layers_and_seeds() -> None:
    matrix = np.ones((8, 8))
    parameters = METHODS["dare"].filled({"lambda": 1.0}, 2)

    def drawn(identity: str, name: str, seed: int) -> bytes:
        own = {**parameters, "seed": seed}
        source = Source(Dense(matrix.astype(np.float32)), 1.0, identity, own)
        return dense(METHODS["dare"].run(Layer(name, (8, 8), (source,)), own)).tobytes()

    assert drawn("a", "q", 0) == drawn("a", "q", 0)
    assert len({drawn("a", "q", 0), drawn("b", "q", 0), drawn("a", "k", 0), drawn("a", "q", 1)}) == 4


def test_dare_rescaled_by_l1_keeps_the_sum_of_sizes() -> None:
    matrix = np.random.default_rng(1).normal(size=(40, 5))
    parameters = METHODS["dare"].filled({"rescale": "l1", "density": 0.2, "lambda": 1.0}, 1)
    result = dense(METHODS["dare"].run(layer_of([matrix], [1.0], parameters), parameters))
    assert np.abs(result).sum() == pytest.approx(np.abs(matrix).sum(), rel=1e-5)
    assert 0.1 < np.count_nonzero(result) / result.size < 0.3


def test_ties_of_factored_inputs_equals_ties_of_their_products() -> None:
    random = np.random.default_rng(2)
    factors = [
        LowRank(random.normal(size=(300, 3)).astype(np.float32), random.normal(size=(3, 20)).astype(np.float32))
        for _ in range(2)
    ]
    parameters = METHODS["ties"].filled({}, 2)
    sources = tuple(Source(one, 1.0, str(n), parameters) for n, one in enumerate(factors))
    factored = METHODS["ties"].run(Layer("q", (300, 20), sources), parameters)
    plain = METHODS["ties"].run(layer_of([dense(one) for one in factors], [1.0, 1.0], parameters), parameters)
    np.testing.assert_array_equal(dense(factored), dense(plain))


def test_density_keeps_at_least_one_entry() -> None:
    assert [kept_count(10, 0.01), kept_count(10, 0.2), kept_count(10, 1.0)] == [1, 2, 10]
