"""Drawings of a comparison as SVG: the heat map of layers and modules, histograms before and after, singular values.

Colours are classes and shapes say the same without them: numbers stand in the cells, what did not change is hatched.
Every drawing says in words what it shows; every cell of the heat map is a link, so a keyboard reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, log2, log10
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from adapters.diffs.grid import Cell, Grid
from adapters.diffs.summary import percent

CELL_WIDTH, CELL_HEIGHT, GAP = 46, 26, 3
LABEL, HEAD = 30, 92
TILE_WIDTH, TILE_HEIGHT = 150, 40
TONES = 5
MARKS = {"added": "+", "removed": "−", "equivalent": "≈", "unchanged": ""}
WORDS = {
    "added": "added", "removed": "removed", "equivalent": "other factors, the same effect", "unchanged": "unchanged",
    "changed": "changed",
}  # fmt: skip
Address = Callable[[str, str], str]


def heat_map(grid: Grid, address: Address, name: str = "heat") -> SafeString:
    """Layers down, modules across; `address(layer, module)` is where a cell leads. `name` makes ids unique."""
    steps = scale(grid)
    layers = [layer for layer in grid.layers if layer]
    inside = [m for m in grid.modules if any((layer, m) in grid.cells for layer in layers)]
    width = max(LABEL + len(inside) * (CELL_WIDTH + GAP) + HEAD if inside else 0, 320)
    top = HEAD if inside else 0
    outside = [grid.cells["", module] for module in grid.modules if ("", module) in grid.cells]
    bottom, tiles = _tiles(outside, grid, steps, address, name, top + len(layers) * (CELL_HEIGHT + GAP), width)
    heads = format_html_join(
        "", '<text class="head" transform="translate({} {}) rotate(-40)">{}</text>',
        ((LABEL + x * (CELL_WIDTH + GAP) + CELL_WIDTH // 2, HEAD - 8, _cut(grid.short[m], 22))
         for x, m in enumerate(inside)),
    )  # fmt: skip
    titles = format_html_join(
        "", '<text class="layer" x="{}" y="{}">{}</text>',
        ((LABEL - 8, top + y * (CELL_HEIGHT + GAP) + CELL_HEIGHT / 2, layer) for y, layer in enumerate(layers)),
    )  # fmt: skip
    cells = format_html_join(
        "", "{}",
        ((_cell(grid.cells[layer, module], steps, address, name, LABEL + x * (CELL_WIDTH + GAP),
                top + y * (CELL_HEIGHT + GAP), CELL_WIDTH, CELL_HEIGHT),)
         for y, layer in enumerate(layers) for x, module in enumerate(inside) if (layer, module) in grid.cells),
    )  # fmt: skip
    return format_html(
        '<svg class="heat-map" width="{}" height="{}" viewBox="0 0 {} {}" role="group" aria-label="{}">'
        '<defs><pattern id="{}-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="hatch-ground" width="6" height="6"/><rect class="hatch-line" width="1.2" height="6"/></pattern>'
        "</defs>{}{}{}{}</svg>",
        width, bottom, width, bottom, _said(grid), name, heads, titles, cells, tiles,
    )  # fmt: skip


def _tiles(
    cells: Sequence[Cell], grid: Grid, steps: list[float], address: Address, name: str, top: int, width: int
) -> tuple[int, SafeString]:
    """What stands outside the layers, as labelled tiles in rows below the map; (where they end, markup)."""
    if not cells:
        return top, SafeString("")
    top += 24 if top else 18
    across = max(1, width // (TILE_WIDTH + GAP))
    parts = [format_html('<text class="outside" x="0" y="{}">Outside the layers</text>', top - 8)]
    for number, cell in enumerate(cells):
        x = number % across * (TILE_WIDTH + GAP)
        y = top + number // across * (TILE_HEIGHT + GAP)
        parts.append(_cell(cell, steps, address, name, x, y, TILE_WIDTH, TILE_HEIGHT, grid.short[cell.module]))
    rows = -(-len(cells) // across)
    return top + rows * (TILE_HEIGHT + GAP), format_html_join("", "{}", ((part,) for part in parts))


def _cell(
    cell: Cell, steps: list[float], address: Address, name: str, x: int, y: int, width: int, height: int,
    label: str = "",
) -> SafeString:  # fmt: skip
    """One cell or tile: a link with a ground (tone or hatch), a number or a mark, and its words."""
    state, value = cell.state, cell.value
    tone_ = tone(value, steps) if state == "changed" else 0
    ground = f"url(#{name}-hatch)" if state == "unchanged" else ""
    text = short_percent(value) if state == "changed" and value is not None else MARKS.get(state, "±")
    where = f"layer {cell.layer}, {cell.module}" if cell.layer else cell.module
    amount = f" by {percent(value)}" if state == "changed" and value is not None else ""
    count = len(cell.names)
    words = f"{where}: {WORDS[state]}{amount}, {count} tensor{'s' if count != 1 else ''}"
    shown = format_html('<text class="name" x="{}" y="{}">{}</text>', x + 8, y + 13, _cut(label, 20)) if label else ""
    middle = (x + 8, y + 28, "start") if label else (x + width / 2, y + height / 2, "middle")
    return format_html(
        '<a class="cell state-{} tone-{}{}" href="{}" aria-label="{}"><title>{}</title>'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="3"{}/>{}'
        '<text class="value" x="{}" y="{}" text-anchor="{}">{}</text></a>',
        state, tone_, " tile" if label else "", address(cell.layer, cell.module), words, words, x, y, width, height,
        format_html(' fill="{}"', ground) if ground else "", shown, *middle, text if not label or text else "",
    )  # fmt: skip


def scale(grid: Grid) -> list[float]:
    """Upper bounds of the tones: equal steps of the logarithm between the smallest and the largest change.

    At least a factor of ten is spanned, so that nearly equal changes look alike.
    """
    if grid.range is None:
        return []
    low, high = grid.range
    low = min(low, high / 10)
    step = (log(high) - log(low)) / TONES
    return [low * 2.718281828459045 ** (step * number) for number in range(1, TONES)] + [high]


def tone(value: float | None, steps: list[float]) -> int:
    """1 for the smallest changes to 5 for the largest."""
    if value is None or not steps:
        return TONES
    return next((number for number, bound in enumerate(steps, 1) if value <= bound * 1.0000001), TONES)


def legend(grid: Grid) -> list[dict[str, Any]]:
    """Tones with the range each stands for, and the shapes in use."""
    steps = scale(grid)
    found: list[dict[str, Any]] = []
    low = 0.0
    for number, bound in enumerate(steps, 1):
        words = f"{percent(low)} to {percent(bound)}" if low else f"up to {percent(bound)}"
        found.append({"tone": number, "words": words})
        low = bound
    states = {cell.state for cell in grid.cells.values()}
    found += [
        {"state": state, "mark": MARKS[state], "words": WORDS[state]}
        for state in ("unchanged", "equivalent", "added", "removed")
        if state in states
    ]
    return found


def short_percent(value: float) -> str:
    """A share as per cent in at most four signs: `12`, `0.83`, `.004`, `<.001`."""
    number = value * 100
    if number >= 999.5:
        return "999+"
    if number >= 9.95:
        return f"{number:.0f}"
    if number >= 0.995:
        return f"{number:.1f}"
    if number >= 0.0095:
        return f"{number:.2f}".lstrip("0")
    if number >= 0.0005:
        return f"{number:.3f}".lstrip("0")
    return "<.001" if number else "0"


def _said(grid: Grid) -> str:
    cells = list(grid.cells.values())
    changed = [cell for cell in cells if cell.state == "changed" and cell.value]
    words = f"Heat map of {len(cells)} modules: {len(changed)} changed"
    if changed:
        most = max(changed, key=lambda cell: cell.value or 0.0)
        where = f"layer {most.layer}, {most.module}" if most.layer else most.module
        words += f", most in {where} ({percent(most.value or 0.0)})"
    return words


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[-(length - 1) :]


# --- histograms and singular values ---

PLOT_WIDTH, PLOT_HEIGHT = 440, 170
LEFT, BASE = 8, 18


def histogram(before: list[list[int]], after: list[list[int]]) -> SafeString:
    """Shares of values by size on a log axis, positive upwards and negative downwards; before filled, after drawn over.

    Bins are those of `adapters.diffs.manifest`: half octaves with a sign.
    """
    old, new = _shares(before), _shares(after)
    used = [size for _sign, size in (*old, *new)]
    if not used:
        return SafeString("")
    low, high = max(min(used), max(used) - 40), max(used)
    most = max((*old.values(), *new.values()))
    step = (PLOT_WIDTH - 2 * LEFT) / (high - low + 1)
    middle = (PLOT_HEIGHT - BASE) / 2

    def outline(shares: dict[tuple[int, int], float], sign: int) -> str:
        points = [f"M{LEFT} {middle:.1f}"]
        for size in range(low, high + 1):
            y = middle - sign * shares.get((sign, size), 0.0) / most * (middle - 6)
            points.append(f"V{y:.1f}H{LEFT + (size - low + 1) * step:.1f}")
        return "".join(points) + f"V{middle:.1f}"

    marks = [size for size in range(low, high + 1) if size % 2 == 0]
    thin = max(1, -(-len(marks) // 6))
    ticks = format_html_join(
        "", '<text class="tick" x="{}" y="{}">{}</text>',
        ((f"{LEFT + (size - low) * step:.1f}", PLOT_HEIGHT - 4, _power(size)) for size in marks[::thin]),
    )  # fmt: skip
    return format_html(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}"><path class="rail" d="M{} {}H{}"/>'
        '<path class="before" d="{}{}"/><path class="after" d="{}{}"/>{}'
        '<text class="tick" x="{}" y="10">+</text><text class="tick" x="{}" y="{}">−</text></svg>',
        PLOT_WIDTH, PLOT_HEIGHT, "Share of the values by size, before (filled) and after (line)", LEFT, middle,
        PLOT_WIDTH - LEFT, outline(old, 1), outline(old, -1), outline(new, 1), outline(new, -1), ticks,
        0, 0, f"{2 * middle:.0f}",
    )  # fmt: skip


def _shares(bins: list[list[int]]) -> dict[tuple[int, int], float]:
    """(sign, half octave) → share; zero and what is not finite are left out."""
    found = {}
    total = sum(count for _, count in bins) or 1
    for code, count in bins:
        sign, size = (-1, code - 512) if code >= 512 else (1, code)
        if 2 <= size < 510:
            found[sign, size] = count / total
    return found


def _power(size: int) -> str:
    value = 2.0 ** (size / 2 - 127)
    return f"{value:.2g}" if 1e-3 <= value < 1e4 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def singular_values(change: Sequence[float], before: Sequence[float] = (), after: Sequence[float] = ()) -> SafeString:
    """Singular values on a log axis, the largest first: of the change as dots, of the updates themselves as lines."""
    lines = [[value for value in row[:32] if value > 0] for row in (change, before, after)]
    if not lines[0]:
        return SafeString("")
    high = max(max(row) for row in lines if row)
    low = max(min(min(row) for row in lines if row), high * 1e-8)
    span = max(log10(high / low), 0.5)
    count = max(len(row) for row in lines)
    step = (PLOT_WIDTH - 54) / max(count, 2)

    def place(number: int, value: float) -> tuple[float, float]:
        return 50 + number * step, 8 + log10(high / max(value, low)) / span * (PLOT_HEIGHT - BASE - 16)

    def path(row: Sequence[float]) -> str:
        return "".join(f"{'M' if not n else 'L'}{x:.1f} {y:.1f}" for n, v in enumerate(row) for x, y in [place(n, v)])

    dots = format_html_join(
        "", '<circle cx="{}" cy="{}" r="3"/>', ((f"{x:.1f}", f"{y:.1f}") for n, v in enumerate(lines[0])
                                                for x, y in [place(n, v)]),
    )  # fmt: skip
    ticks = format_html_join(
        "", '<text class="tick" x="0" y="{}">{}</text>',
        ((f"{place(0, value)[1] + 4:.1f}", f"{value:.2g}") for value in dict.fromkeys((high, low))),
    )  # fmt: skip
    words = f"{len(lines[0])} singular values of the change, from {high:.3g} down to {lines[0][-1]:.3g}"
    return format_html(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}"><path class="before-line" d="{}"/>'
        '<path class="after-line" d="{}"/><path class="change-line" d="{}"/><g class="change">{}</g>{}'
        '<text class="tick" x="50" y="{}">1</text><text class="tick end" x="{}" y="{}">{}</text></svg>',
        PLOT_WIDTH, PLOT_HEIGHT, words, path(lines[1]), path(lines[2]), path(lines[0]), dots, ticks,
        PLOT_HEIGHT - 4, f"{place(count - 1, high)[0]:.0f}", PLOT_HEIGHT - 4, count,
    )  # fmt: skip


def bar(value: float | None, steps: list[float]) -> SafeString:
    """How far along the log scale a relative change lies, for a table's cell; the number stands beside it."""
    if not value or not steps:
        return SafeString("")
    low = min(steps[0], steps[-1] / 10)
    share = max(0.04, min(1.0, 1 + log2(value / steps[-1]) / max(log2(steps[-1] / low) + 1, 1)))
    return format_html(
        '<svg class="log-bar" width="100%" height="4" aria-hidden="true"><rect width="{}%" height="4" rx="2"/></svg>',
        f"{share * 100:.1f}",
    )
