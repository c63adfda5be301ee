"""Small drawings as SVG: avatars, score intervals, heat strips, bars. Numbers and text in, safe markup out.

Colours are classes, sizes are attributes: nothing here needs an inline style, so the security policy stays strict.
Every drawing says in words what it shows, for those who do not see it.
"""

import hashlib
from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

SCORE_WIDTH = 104
TILE = 10
GAP = 2


def avatar(name: str, size: int = 24) -> SafeString:
    """A square with up to two initials; the same name always has the same colour. `size` in pixels."""
    parts = [part for part in name.replace("_", "-").replace(".", "-").split("-") if part] or [name or "?"]
    initials = (parts[0][0] + (parts[1][0] if len(parts) > 1 else parts[0][1:2])).upper()
    hue = hashlib.sha256(name.lower().encode()).digest()[0] % 6 + 1
    return format_html(
        '<svg class="avatar" width="{}" height="{}" viewBox="0 0 24 24" aria-hidden="true">'
        '<rect class="hue-{}" width="24" height="24"/>'
        '<text x="12" y="12.4" font-size="10.5" text-anchor="middle" dominant-baseline="central">{}</text></svg>',
        size,
        size,
        hue,
        initials,
    )


def score(
    value: float,
    low: float | None = None,
    high: float | None = None,
    *,
    baseline: float | None = None,
    minimum: float = 0.0,
    maximum: float = 1.0,
) -> SafeString:
    """A point on a rail from `minimum` to `maximum`, a bar for its interval, a line for what it is compared with."""

    def place(number: float) -> str:
        span = maximum - minimum or 1.0
        return f"{min(max((number - minimum) / span, 0.0), 1.0) * SCORE_WIDTH:.1f}"

    words = f"{value:.3f}"
    interval = comparison = SafeString("")
    if low is not None and high is not None:
        left, right = float(place(low)), float(place(high))
        words += f", between {low:.3f} and {high:.3f}"
        interval = format_html(
            '<rect class="interval" x="{}" y="4" width="{}" height="8" rx="2"/>',
            f"{left:.1f}",
            f"{max(right - left, 1):.1f}",
        )
    if baseline is not None:
        words += f", compared with {baseline:.3f}"
        comparison = format_html(
            '<line class="baseline" x1="{}" y1="1" x2="{}" y2="15"/>', place(baseline), place(baseline)
        )
    return format_html(
        '<svg width="{}" height="16" viewBox="0 0 {} 16" role="img" aria-label="{}">'
        '<path class="rail" d="M0 8H{}M.5 5v6M{} 5v6" fill="none"/>{}{}'
        '<circle class="point" cx="{}" cy="8" r="3.5"/></svg>',
        SCORE_WIDTH,
        SCORE_WIDTH,
        words,
        SCORE_WIDTH,
        SCORE_WIDTH - 0.5,
        interval,
        comparison,
        place(value),
    )


def heat_strip(cells: Sequence[tuple[str, float]], *, columns: int = 24) -> SafeString:
    """Tiles in rows of `columns`, darker where the value is larger (relative to the largest); each tile has its title.

    `cells` are (name, value ≥ 0); a value of exactly zero has the emptiest colour.
    """
    if not cells:
        return SafeString("")
    largest = max(value for _, value in cells) or 1.0
    step = TILE + GAP
    rows = -(-len(cells) // columns)
    width = min(len(cells), columns) * step - GAP
    tiles = format_html_join(
        "",
        '<rect class="heat-{}" x="{}" y="{}" width="{}" height="{}" rx="1.5"><title>{}: {}</title></rect>',
        (
            (_heat(value / largest), index % columns * step, index // columns * step, TILE, TILE, name, f"{value:.3g}")
            for index, (name, value) in enumerate(cells)
        ),
    )
    most = max(cells, key=lambda cell: cell[1])
    changed = sum(value > 0 for _, value in cells)
    words = f"{changed} of {len(cells)} tensors changed, most in {most[0]} ({most[1]:.3g})"
    return format_html(
        '<svg class="heat" width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        width,
        rows * step - GAP,
        width,
        rows * step - GAP,
        words,
        tiles,
    )


def bar(share: float) -> SafeString:
    """One horizontal bar that fills `share` (0 to 1) of its cell; the number stands beside it as text."""
    width = min(max(share, 0.0), 1.0) * 100
    return format_html(
        '<svg width="100%" height="10" aria-hidden="true"><rect width="{}%" height="10" rx="2"/></svg>', f"{width:.2f}"
    )


def _heat(share: float) -> int:
    """Which of five steps: 0 for nothing, then quarters of the largest."""
    return 0 if share <= 0 else min(4, int(share * 4) + 1)
