"""Spherical interpolation between two updates: along the arc instead of the chord, so the length does not sag."""

from __future__ import annotations

import math

from merges.methods.declaration import Layer, Method, Parameter, Parameters, Reference
from merges.methods.deltas import Delta, inner, norm, weighted_sum

# Nearly parallel updates have no well-defined arc; the chord is then the same to the last digit that matters.
PARALLEL = 0.9995


def run(layer: Layer, parameters: Parameters) -> Delta:
    """sin((1−t)Ω)/sin Ω · w₁ΔW₁ + sin(tΩ)/sin Ω · w₂ΔW₂ with Ω the angle between them (Shoemake 1985).

    Both coefficients are numbers, so factored inputs give a factored result.
    """
    t = parameters["t"]
    first, second = layer.sources
    lengths = norm(first.delta) * norm(second.delta) * first.weight * second.weight
    cosine = inner(first.delta, second.delta) * first.weight * second.weight / abs(lengths) if lengths else 1.0
    coefficients = [1.0 - t, t]
    if abs(cosine) < PARALLEL:
        angle = math.acos(cosine)
        coefficients = [math.sin((1.0 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]
    return weighted_sum(layer.deltas, [c * w for c, w in zip(coefficients, layer.weights, strict=True)])


METHOD = Method(
    name="slerp",
    title="Spherical interpolation",
    summary="A point on the arc between exactly two updates, layer by layer.",
    reference=Reference(
        "Shoemake", "Animating rotation with quaternion curves", 1985, "https://doi.org/10.1145/325165.325242"
    ),
    parameters=(
        Parameter("t", "float", 0.5, "Where on the arc: 0 is the first input, 1 the second.", minimum=0.0, maximum=1.0),
    ),
    run=run,
    exact_on_lora=True,
    space="factored",
    order=70,
    inputs_minimum=2,
    inputs_maximum=2,
)
