"""Drawings of the merge lab as SVG: a matrix of cosines, and curves of λ. Numbers in, safe markup out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

TILE, LABEL = 44, 26
CURVE_WIDTH, CURVE_HEIGHT, MARGIN = 520, 200, 36
MARK = '<text class="mark" x="{}" y="{}" text-anchor="middle">{}</text>'
TILED = (
    '<g><rect x="{}" y="{}" width="{}" height="{}" rx="3" class="heat-{}"><title>{}</title></rect>'
    '<text x="{}" y="{}" text-anchor="middle" class="on-{}">{}</text></g>'
)
CURVES = (
    '<svg class="curves" width="{}" height="{}" viewBox="0 0 {} {}" role="img" '
    'aria-label="Validation accuracy over lambda"><path class="rail" d="M{} {}H{}M{} {}V{}" fill="none"/>{}{}{}'
    '<text class="mark" x="{}" y="{}">λ</text></svg>'
)


def matrix(values: Sequence[Sequence[float | None]], names: Sequence[str], what: str) -> SafeString:
    """A square of tiles numbered 1, 2, ... in the order of `names`; darker where |value| is larger, number inside."""
    count = len(values)
    size = LABEL + count * TILE
    tiles = []
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            level = 0 if value is None else min(4, int(abs(value) * 4.999))
            shown = "·" if value is None else f"{value:.2f}"
            said = f"{what} of {names[row]} and {names[column]}: {'unknown' if value is None else f'{value:.3f}'}"
            x, y, ink = LABEL + column * TILE, LABEL + row * TILE, "dark" if level > 2 else "light"
            words = (x + TILE // 2 - 1, y + TILE // 2 + 4, ink, shown)
            tiles.append((x, y, TILE - 2, TILE - 2, level, said, *words))
    marks = [
        (LABEL + n * TILE + TILE // 2 - 1, 17, n + 1, 12, LABEL + n * TILE + TILE // 2 + 4, n + 1) for n in range(count)
    ]
    return format_html(
        '<svg class="matrix" width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>',
        size,
        size,
        size,
        size,
        f"{what} of every two inputs",
        format_html_join("", MARK + MARK, marks),
        format_html_join("", TILED, tiles),
    )


def curves(methods: Sequence[Mapping[str, Any]]) -> SafeString:
    """Mean validation accuracy over λ, one line for each method, its name at the right beside where it ends."""
    lines = [(method["name"], _points(method["trials"])) for method in methods]
    lines = [(name, points) for name, points in lines if len(points) > 1]
    if not lines:
        return SafeString("")
    xs = [x for _, points in lines for x, _ in points]
    ys = [y for _, points in lines for _, y in points]
    low, high, right = min(ys), max(*ys, min(ys) + 0.02), max(xs)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            MARGIN + (CURVE_WIDTH - 2 * MARGIN - 80) * x / (right or 1),
            CURVE_HEIGHT - MARGIN - (CURVE_HEIGHT - 1.5 * MARGIN) * (y - low) / (high - low),
        )

    parts: list[SafeString] = []
    taken: list[float] = []
    for number, (name, points) in enumerate(lines):
        spots = [place(*point) for point in points]
        end = spots[-1]
        height = end[1] + 4
        while any(abs(height - other) < 13 for other in taken):
            height += 13 if height < CURVE_HEIGHT - MARGIN else -13 * (len(taken) + 1)
        taken.append(height)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        told = [f"{name}: λ {x:g}, accuracy {y:.3f}" for x, y in points]
        places = [(f"{x:.1f}", f"{y:.1f}", words) for (x, y), words in zip(spots, told, strict=True)]
        dots = format_html_join("", '<circle cx="{}" cy="{}" r="3"><title>{}</title></circle>', places)
        parts.append(
            format_html(
                '<g class="curve curve-{}"><polyline points="{}" fill="none"/>{}<text x="{}" y="{}">{}</text></g>',
                number % 6,
                path,
                dots,
                f"{CURVE_WIDTH - MARGIN - 72:.1f}",
                f"{height:.1f}",
                name,
            )
        )
    bottom = CURVE_HEIGHT - MARGIN
    axis = [(*place(x, low), x) for x in sorted({0.0, right / 2, right})]
    ticks = format_html_join(
        "",
        '<text class="mark" x="{}" y="{}" text-anchor="middle">{}</text>',
        [(f"{x:.1f}", bottom + 16, f"{value:g}") for x, _, value in axis],
    )
    sides = format_html_join(
        "",
        '<text class="mark" x="{}" y="{}" text-anchor="end">{}</text>',
        [(MARGIN - 6, f"{place(0, value)[1] + 4:.1f}", f"{value:.2f}") for value in (low, high)],
    )
    return format_html(
        CURVES,
        CURVE_WIDTH,
        CURVE_HEIGHT,
        CURVE_WIDTH,
        CURVE_HEIGHT,
        MARGIN,
        bottom,
        CURVE_WIDTH - MARGIN - 80,
        MARGIN,
        bottom,
        MARGIN // 2,
        ticks,
        sides,
        SafeString("".join(parts)),
        CURVE_WIDTH - MARGIN - 80,
        bottom + 30,
    )


def _points(trials: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    found = []
    for trial in trials:
        value = trial["settings"].get("lambda")
        accuracies = list(trial["accuracies"].values())
        if value is not None and accuracies:
            found.append((float(value), sum(accuracies) / len(accuracies)))
    return sorted(found)
