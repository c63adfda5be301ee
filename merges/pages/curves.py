"""Training curves as SVG: points in, safe markup out; read as a table by those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 460, 190, 44, 26, 10, 10

Series = tuple[str, list[tuple[float, float]]]


def loss_drawing(points: Sequence[dict[str, Any]], epochs: int) -> SafeString:
    """Training loss (line), validation loss (dashed), and the validation losses of the folds (thin)."""
    series: list[Series] = [(f"fold-{number}", curve) for number, curve in _folds(points, "validation_loss").items()]
    kept = [point for point in points if not point.get("fold")]
    series.append(("train", [(point["epoch"], point["loss"]) for point in kept]))
    series.append(("validation", _values(kept, "validation_loss")))
    return _drawing("Loss by epoch", series, epochs, low=0.0, high=None)


def accuracy_drawing(points: Sequence[dict[str, Any]], epochs: int) -> SafeString:
    """Accuracy on validation examples (dashed) and on the folds' held-back examples (thin)."""
    folds = _folds(points, "validation_accuracy")
    series: list[Series] = [(f"fold-{number}", curve) for number, curve in folds.items()]
    kept = _values([point for point in points if not point.get("fold")], "validation_accuracy")
    series.append(("validation", kept))
    return _drawing("Accuracy by epoch", series, epochs, low=0.0, high=1.0)


def _folds(points: Sequence[dict[str, Any]], name: str) -> dict[int, list[tuple[float, float]]]:
    found: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        if point.get("fold") and point.get(name) is not None:
            found.setdefault(point["fold"], []).append((point["epoch"], point[name]))
    return found


def _values(points: Sequence[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(point["epoch"], point[name]) for point in points if point.get(name) is not None]


def _drawing(title: str, series: Sequence[Series], epochs: int, *, low: float, high: float | None) -> SafeString:
    values = [value for _, curve in series for _, value in curve]
    if not values:
        return SafeString("")
    first = min(int(epoch) for _, curve in series for epoch, _ in curve)  # 0 where the start was judged too
    last = max(2, epochs, *(int(epoch) for _, curve in series for epoch, _ in curve))
    top = high if high is not None else _round_up(max(values))

    def x(epoch: float) -> str:
        return f"{LEFT + (epoch - first) / (last - first) * (WIDTH - LEFT - RIGHT):.1f}"

    def y(value: float) -> str:
        share = min(max((value - low) / (top - low or 1.0), 0.0), 1.0)
        return f"{HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP):.1f}"

    marks = [low + (top - low) * step / 4 for step in range(5)]
    rails = format_html_join(
        "",
        '<line class="rail" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{}</text>',
        ((LEFT, WIDTH - RIGHT, y(m), y(m), LEFT - 6, f"{float(y(m)) + 3.5:.1f}", f"{m:.2g}") for m in marks),
    )
    steps = range(first, last + 1, max(1, -(-(last - first) // 5)))
    ticks = format_html_join(
        "", '<text x="{}" y="{}" text-anchor="middle">{}</text>', ((x(n), HEIGHT - 8, n) for n in steps)
    )
    drawn = format_html_join("", "{}", ((_line(name, curve, x, y),) for name, curve in series if curve))
    told = "; ".join(
        f"{_words(name)}: {curve[-1][1]:.3f} after epoch {curve[-1][0]:g}" for name, curve in series if curve
    )
    return format_html(
        '<svg class="curve" viewBox="0 0 {} {}" width="100%" role="img" aria-label="{}. {}">{}{}{}</svg>',
        WIDTH, HEIGHT, title, told, rails, ticks, drawn,
    )  # fmt: skip


def _line(name: str, curve: list[tuple[float, float]], x: Any, y: Any) -> SafeString:
    kind = "fold" if name.startswith("fold") else name
    places = " ".join(f"{x(epoch)},{y(value)}" for epoch, value in curve)
    epoch, value = curve[-1]
    return format_html(
        '<polyline class="{}" points="{}"/><circle class="{}" cx="{}" cy="{}" r="{}"/>',
        kind, places, kind, x(epoch), y(value), 2 if kind == "fold" else 3.5,
    )  # fmt: skip


def _words(name: str) -> str:
    return {"train": "training", "validation": "validation"}.get(name, name.replace("-", " "))


def _round_up(value: float) -> float:
    """The next round number above: 1, 2, 2.5, 4, 5 or 10 times a power of ten."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value and power > 1e-6:
        power /= 10
    return next(power * step for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * step >= value * 0.999)
