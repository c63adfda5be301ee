"""Plots as SVG made on the server: scores against parameters, scores over time, confusion matrices.

Numbers and names in, safe markup out; colours are classes, so that the strict security policy holds. Every plot says
in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from hub.pages.units import compact

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 296, 46, 34, 28, 34
MOST_LABELS = 40


@dataclass(frozen=True)
class Dot:
    """A point of a plot, with its interval and where it leads."""

    x: float
    y: float
    low: float
    high: float
    name: str
    url: str
    css: str = ""


def scatter(dots: Sequence[Dot], *, x_label: str, y_label: str) -> SafeString:
    """Points over a logarithmic horizontal axis (values above 0), with whiskers for their 95 % intervals."""
    if not dots:
        return SafeString("")
    logs = [math.log10(dot.x) for dot in dots]
    left, right = math.floor(min(logs) * 2) / 2, math.ceil(max(logs) * 2) / 2
    right = right if right > left else left + 1
    low, high = _range(dots)
    body = _frame(low, high, y_label, x_label)
    whole = [float(tick) for tick in range(math.floor(left), math.ceil(right) + 1) if left <= tick <= right]
    body += _ticks((_across(tick, left, right), compact(10**tick)) for tick in whole or [left])
    body += _dots(dots, [_across(log, left, right) for log in logs], low, high)
    best = max(dots, key=lambda dot: dot.y)
    words = f"{len(dots)} subjects: {y_label} against {x_label}; the best is {best.name} with {best.y:.3f}"
    return _svg(words, body)


def series(
    dots: Sequence[Dot], names: Sequence[str], *, y_label: str, x_label: str = "", beside: Sequence[Dot] = ()
) -> SafeString:
    """Scores in order (revisions, releases) with a band for their intervals; `names` stand below.

    `beside` are scores of something else at the same steps (a dot's x is its step), joined by a dashed line.
    """
    if not dots:
        return SafeString("")
    low, high = _range([*dots, *beside])
    last = max(len(dots) - 1, 1)
    across = [_across(number if len(dots) > 1 else 0.5, 0, last) for number in range(len(dots))]
    body = _frame(low, high, y_label, x_label)
    step = max(1, math.ceil(len(dots) / 12))
    body += _ticks((x, name) for number, (x, name) in enumerate(zip(across, names, strict=True)) if number % step == 0)
    if len(dots) > 1:
        upper = [f"{x:.1f},{_down(dot.high, low, high):.1f}" for x, dot in zip(across, dots, strict=True)]
        lower = [f"{x:.1f},{_down(dot.low, low, high):.1f}" for x, dot in zip(across, dots, strict=True)]
        line = [f"{x:.1f},{_down(dot.y, low, high):.1f}" for x, dot in zip(across, dots, strict=True)]
        body += format_html('<polygon class="band" points="{}"/>', " ".join(upper + lower[::-1]))
        body += format_html('<polyline class="path" points="{}"/>', " ".join(line))
    over = SafeString("")
    if beside:
        places = [across[int(dot.x)] for dot in beside]
        line = [f"{x:.1f},{_down(dot.y, low, high):.1f}" for x, dot in zip(places, beside, strict=True)]
        body += format_html('<polyline class="path path-beside" points="{}"/>', " ".join(line))
        over = _dots(beside, places, low, high)
    body += _dots(dots, across, low, high) + over
    words = f"{y_label} over {len(dots)} steps, from {dots[0].y:.3f} to {dots[-1].y:.3f}"
    return _svg(words, body)


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], url: str = "") -> SafeString:
    """A matrix of tiles: row expected, column predicted; a tile is as dark as its share of its row, and leads to its
    items at `url`. Empty beyond MOST_LABELS labels (a table of the worst pairs says more then)."""
    if not labels or len(labels) > MOST_LABELS:
        return SafeString("")
    size = 44 if len(labels) <= 8 else 30 if len(labels) <= 16 else 20
    wide = min(max(len(label) for label in labels), 18) * 7 + 12
    width, height = wide + size * len(labels) + 4, wide + size * len(labels) + 4
    tiles = []
    for row, line in enumerate(counts):
        total = sum(line) or 1
        for column, count in enumerate(line):
            share = count / total
            heat = 0 if count == 0 else min(4, int(share * 4) + 1)
            address = f"{url}?show=all&expected={quote(labels[row])}&predicted={quote(labels[column])}"
            tile = format_html(
                '<rect class="heat-{}" x="{}" y="{}" width="{}" height="{}" rx="2"><title>{} read as {}: {} ({} %)'
                "</title></rect>{}",
                heat, wide + column * size, wide + row * size, size - 2, size - 2, labels[row], labels[column], count,
                f"{share * 100:.0f}", _count(count, heat, wide + column * size, wide + row * size, size),
            )  # fmt: skip
            tiles.append(format_html('<a href="{}">{}</a>', address, tile) if url and count else tile)
    names = format_html_join(
        "", '<text x="{}" y="{}" text-anchor="end" dominant-baseline="central">{}</text>',
        ((wide - 6, wide + number * size + size / 2 - 1, _short(label)) for number, label in enumerate(labels)),
    )  # fmt: skip
    heads = format_html_join(
        "", '<text transform="translate({} {}) rotate(-90)" dominant-baseline="central">{}</text>',
        ((wide + number * size + size / 2 - 1, wide - 6, _short(label)) for number, label in enumerate(labels)),
    )  # fmt: skip
    right = sum(line[number] for number, line in enumerate(counts))
    words = f"Confusion matrix of {len(labels)} labels: {right} of {sum(map(sum, counts))} right"
    return format_html(
        '<svg class="confusion" width="{}" height="{}" viewBox="0 0 {} {}" role="group" aria-label="{}">{}{}{}</svg>',
        width, height, width, height, words, names, heads, SafeString("".join(tiles)),
    )  # fmt: skip


def _count(count: int, heat: int, x: int, y: int, size: int) -> SafeString:
    if not count or size < 28:
        return SafeString("")
    css = "count on-dark" if heat >= 3 else "count"
    return format_html(
        '<text class="{}" x="{}" y="{}" text-anchor="middle" dominant-baseline="central">{}</text>',
        css, x + size / 2 - 1, y + size / 2 - 1, count,
    )  # fmt: skip


def _short(label: str) -> str:
    return label if len(label) <= 18 else label[:17] + "…"


def _range(dots: Sequence[Dot]) -> tuple[float, float]:
    low, high = min(dot.low for dot in dots), max(dot.high for dot in dots)
    low, high = math.floor(low * 20) / 20, math.ceil(high * 20) / 20
    return (low, high) if high > low else (low - 0.05, high + 0.05)


def _across(value: float, left: float, right: float) -> float:
    return LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)


def _down(value: float, low: float, high: float) -> float:
    return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _frame(low: float, high: float, y_label: str, x_label: str) -> SafeString:
    steps = 5
    lines = format_html_join(
        "", '<line class="grid-line" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end" '
        'dominant-baseline="central">{}</text>',
        (
            (LEFT, WIDTH - RIGHT, f"{y:.1f}", f"{y:.1f}", LEFT - 6, f"{y:.1f}", f"{low + (high - low) * n / steps:.2f}")
            for n in range(steps + 1)
            for y in [_down(low + (high - low) * n / steps, low, high)]
        ),
    )  # fmt: skip
    names = format_html(
        '<text class="name" x="{}" y="{}">{}</text><text class="name" x="{}" y="{}" text-anchor="end">{}</text>',
        LEFT, TOP - 14, y_label, WIDTH - RIGHT, HEIGHT - 4, x_label,
    )  # fmt: skip
    return lines + names


def _ticks(ticks: object) -> SafeString:
    return format_html_join(
        "", '<text x="{}" y="{}" text-anchor="middle">{}</text>',
        ((f"{x:.1f}", HEIGHT - BOTTOM + 16, name) for x, name in ticks),  # type: ignore[attr-defined]
    )  # fmt: skip


def _dots(dots: Sequence[Dot], across: Sequence[float], low: float, high: float) -> SafeString:
    return format_html_join(
        "",
        '<a href="{}"><line class="whisker" x1="{}" x2="{}" y1="{}" y2="{}"/><circle class="dot {}" cx="{}" cy="{}" '
        'r="4"><title>{}: {} ({}–{})</title></circle></a>',
        (
            (dot.url, f"{x:.1f}", f"{x:.1f}", f"{_down(dot.high, low, high):.1f}", f"{_down(dot.low, low, high):.1f}",
             dot.css, f"{x:.1f}", f"{_down(dot.y, low, high):.1f}", dot.name, f"{dot.y:.3f}", f"{dot.low:.3f}",
             f"{dot.high:.3f}")
            for dot, x in zip(dots, across, strict=True)
        ),
    )  # fmt: skip


def _svg(words: str, body: SafeString) -> SafeString:
    return format_html(
        '<svg class="plot" viewBox="0 0 {} {}" role="group" aria-label="{}">{}</svg>', WIDTH, HEIGHT, words, body
    )
