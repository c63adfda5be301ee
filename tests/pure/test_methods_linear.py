"""Oracles that hold for every method, and those of mean, task arithmetic and slerp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merges.methods import METHODS, Layer, Source
from merges.methods.deltas import Dense, LowRank, dense, norm, weighted_sum

SHAPE = (9, 7)


def layer_of(*deltas: LowRank | Dense, weights: list[float] | None = None, **parameters: object) -> Layer:
    weights = weights or [1.0] * len(deltas)
    sources = [
        Source(delta, weight, identity=f"{number}", parameters=parameters)
        for number, (delta, weight) in enumerate(zip(deltas, weights, strict=True))
    ]
    return Layer("encoder.query", deltas[0].shape, tuple(sources))


def merged(name: str, *deltas: LowRank | Dense, weights: list[float] | None = None, **given: object) -> np.ndarray:
    method = METHODS[name]
    parameters = method.filled(given, len(deltas))
    return dense(method.run(layer_of(*deltas, weights=weights, **parameters), parameters))


def random_delta(seed: int, rank: int = 2, shape: tuple[int, int] = SHAPE) -> LowRank:
    random = np.random.default_rng(seed)
    left, right = random.normal(size=(shape[0], rank)), random.normal(size=(rank, shape[1]))
    return LowRank(left.astype(np.float32), right.astype(np.float32))


ONE_INPUT = [
    ("mean", {}),
    ("task_arithmetic", {}),
    ("ties", {"density": 1.0}),
    ("dare", {"density": 1.0}),
    ("dare", {"density": 1.0, "combine": "ties", "rescale": "l1"}),
    ("tsv_m", {}),
]


@pytest.mark.parametrize(("name", "given"), ONE_INPUT)
def test_one_input_alone_comes_out_unchanged(name: str, given: dict[str, object]) -> None:
    delta = random_delta(1)
    scale = {} if name == "mean" else {"lambda": 1.0}
    np.testing.assert_allclose(merged(name, delta, **given, **scale), dense(delta), atol=1e-5)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.parameter("lambda")])
def test_lambda_zero_changes_nothing(name: str) -> None:
    assert not merged(name, random_delta(1), random_delta(2), **{"lambda": 0.0}).any()


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.inputs_maximum is None])
@pytest.mark.parametrize("kind", ["factored", "dense", "vector"])
def test_the_order_of_inputs_does_not_matter(name: str, kind: str) -> None:
    shape = (1, 12) if kind == "vector" else SHAPE
    deltas = [random_delta(seed, rank=1 if kind == "vector" else 2, shape=shape) for seed in range(3)]
    inputs = deltas if kind == "factored" else [Dense(dense(delta)) for delta in deltas]
    sources = [
        Source(delta, weight, identity, METHODS[name].filled({}, 3))
        for delta, weight, identity in zip(inputs, (1.0, 0.5, 2.0), "abc", strict=True)
    ]
    results = [
        dense(METHODS[name].run(Layer("q", shape, tuple(order)), METHODS[name].filled({}, 3)))
        for order in (sources, sources[::-1])
    ]
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


@pytest.mark.parametrize("name", list(METHODS))
def test_scaling_all_inputs_scales_the_result(name: str) -> None:
    deltas = [random_delta(seed) for seed in range(2)]
    scaled = [LowRank(delta.left * np.float32(8), delta.right) for delta in deltas]
    np.testing.assert_allclose(merged(name, *scaled), 8 * merged(name, *deltas), atol=1e-4)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.exact_on_lora])
def test_methods_declared_exact_stay_factored_and_equal_their_dense_form(name: str) -> None:
    deltas = [random_delta(seed) for seed in range(2)]
    method = METHODS[name]
    parameters = method.filled({}, 2)
    factored = method.run(layer_of(*deltas), parameters)
    assert isinstance(factored, LowRank)
    assert factored.rank <= 4
    plain = method.run(layer_of(*(Dense(dense(delta)) for delta in deltas)), parameters)
    np.testing.assert_allclose(dense(factored), dense(plain), atol=1e-4)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.floats(-2, 2))
def test_task_arithmetic_is_linear(weights: list[float], scale: float) -> None:
    deltas = [random_delta(seed) for seed in range(3)]
    expected = scale * sum(weight * dense(delta) for weight, delta in zip(weights, deltas, strict=True))
    np.testing.assert_allclose(
        merged("task_arithmetic", *deltas, weights=weights, **{"lambda": scale}), expected, atol=1e-4
    )


def test_the_mean_divides_by_the_weights_and_counts_missing_layers_as_no_change() -> None:
    delta, nothing = random_delta(1), LowRank(np.zeros((9, 0), np.float32), np.zeros((0, 7), np.float32))
    np.testing.assert_allclose(merged("mean", delta, nothing, weights=[3.0, 1.0]), 0.75 * dense(delta), atol=1e-6)
    with pytest.raises(ValueError, match="add up to zero"):
        merged("mean", delta, delta, weights=[1.0, -1.0])


def test_lambda_auto_depends_on_the_number_of_inputs() -> None:
    method = METHODS["task_arithmetic"]
    assert [method.filled({}, count)["lambda"] for count in (1, 2, 8)] == [1.0, 0.5, 0.3]


def test_slerp_keeps_the_length_on_the_arc_and_the_ends() -> None:
    one, other = random_delta(1), random_delta(2)
    other = LowRank(other.left * np.float32(norm(one) / norm(other)), other.right)
    for t, end in ((0.0, one), (1.0, other)):
        np.testing.assert_allclose(merged("slerp", one, other, t=t), dense(end), atol=1e-5)
    assert np.linalg.norm(merged("slerp", one, other, t=0.5)) == pytest.approx(norm(one), rel=1e-5)
    parallel = merged("slerp", one, weighted_sum([one], [2.0]), t=0.25)
    np.testing.assert_allclose(parallel, 1.25 * dense(one), atol=1e-5)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_declaration_is_complete(name: str) -> None:
    method = METHODS[name]
    assert method.reference.url.startswith("https://")
    assert method.reference.year > 1980
    assert method.title
    assert method.summary.endswith(".")
    for parameter in method.parameters:
        assert parameter.help.endswith(".")
        assert parameter.problem(parameter.default) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"density": 0.0}, "above 0 and at most 1"),
        ({"density": float("nan")}, "finite"),
        ({"density": True}, "finite"),
        ({"trim_scope": "world"}, "tensor, global"),
        ({"dencity": 0.5}, "no parameter dencity"),
    ],
)
def test_wrong_parameters_are_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        METHODS["ties"].filled(given, 2)
