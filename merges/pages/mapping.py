"""The map: tasks and adapters on a plane, with filters, zoom by links, and a list of the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import cos, isfinite, sin
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from adapters.models import MapPoint
from adapters.search.filters import Filters
from adapters.search.map import points
from hub.repos.models import Kind
from merges.pages.shared import actor_of

SIDE = 1000.0
Box = tuple[float, float, float, float]
ZOOMS = (1.0, 2.0, 4.0, 8.0, 16.0)
LETTER, LINE = 11.5, 24.0
"""Width of a letter and height of a line of labels at zoom 1, in units of the drawing."""


@dataclass(frozen=True)
class View:
    """What part is shown: its centre in [-1, 1] and the zoom."""

    x: float
    y: float
    zoom: float

    @property
    def box(self) -> str:
        """The SVG's viewBox."""
        size = SIDE * 1.12 / self.zoom
        return f"{self.x * SIDE / 2 - size / 2:.2f} {-self.y * SIDE / 2 - size / 2:.2f} {size:.2f} {size:.2f}"

    @property
    def level(self) -> int:
        """Which zoom this is, from 0."""
        return ZOOMS.index(self.zoom)

    def moved(self, right: float = 0, up: float = 0, zoom: float | None = None) -> View:
        """A view beside this one, a third of its width away, or at another zoom."""
        step = 0.66 / self.zoom
        return View(_limit(self.x + right * step), _limit(self.y + up * step), self.zoom if zoom is None else zoom)


def page(request: HttpRequest) -> HttpResponse:
    """The map as SVG whose points are links; every control is a link or a form."""
    filters = Filters.from_query(request.GET)
    view = View(_number(request, "x", 0.0), _number(request, "y", 0.0), _zoom(request))
    found = points(actor_of(request), filters)
    steps = [
        ("Zoom in", "plus", view.moved(zoom=ZOOMS[min(view.level + 1, len(ZOOMS) - 1)])),
        ("Zoom out", "circle-minus", view.moved(zoom=ZOOMS[max(view.level - 1, 0)])),
        ("Left", "arrow-left", view.moved(right=-1)), ("Right", "arrow-right", view.moved(right=1)),
        ("Up", "chevron-up", view.moved(up=1)), ("Down", "chevron-down", view.moved(up=-1)),
    ]  # fmt: skip
    return render(
        request,
        "hub/map.html",
        {
            "view": view, "marks": marks(found, view), "filters": filters, "count": len(found),
            "steps": [(title, glyph, _address(filters, there)) for title, glyph, there in steps],
            "whole": _address(filters, View(0, 0, 1)), "is_whole": view == View(0, 0, 1.0),
            "kinds": [(Kind.ADAPTER.value, "adapters"), (Kind.TASK.value, "tasks")],
            "rows": sorted(found, key=lambda point: (-round(point.y, 1), point.x)),
        },
    )  # fmt: skip


def marks(found: list[MapPoint], view: View) -> list[dict[str, Any]]:
    """Each point in the drawing's units; a label where it covers no point and no other label, tasks before adapters."""
    ordered = sorted(found, key=lambda item: item.repo.kind != Kind.TASK)
    spots = _spots(ordered, view)
    reach = 8 / view.zoom
    taken: list[Box] = [(x - reach, y - reach, x + reach, y + reach) for x, y in spots]
    drawn = []
    for point, (x, y) in zip(ordered, spots, strict=True):
        width, height = len(point.repo.name) * LETTER / view.zoom, LINE / view.zoom
        before = x > view.x * SIDE / 2 + SIDE / 5 / view.zoom  # near the right edge names stand before their points
        left = x - 12 / view.zoom - width if before else x + 12 / view.zoom
        box = (left, y - height / 2, left + width, y + height / 2)
        free = not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken)
        if free:
            taken.append(box)
        drawn.append({"repo": point.repo, "x": f"{x:.2f}", "y": f"{y:.2f}", "label": free,
                      "text_x": f"{box[2] if before else box[0]:.2f}",
                      "anchor": "end" if before else "start",
                      "radius": f"{7 / view.zoom:.2f}", "size": f"{20 / view.zoom:.2f}"})  # fmt: skip
    return drawn


def _spots(found: list[MapPoint], view: View) -> list[tuple[float, float]]:
    """Where points are drawn. An adapter with its task's examples has its task's place: it is drawn to the left."""
    crowds: Counter[tuple[float, float]] = Counter()
    spots = []
    for point in found:
        place = round(point.x, 2), round(point.y, 2)
        around, crowds[place] = crowds[place], crowds[place] + 1
        aside = 17 / view.zoom * (1 + (around - 1) // 5) if around else 0.0
        turn = 1.8 + 0.9 * ((around - 1) % 5)
        spots.append((point.x * SIDE / 2 + aside * cos(turn), -point.y * SIDE / 2 + aside * sin(turn)))
    return spots


def _address(filters: Filters, view: View) -> str:
    place = [("x", f"{view.x:.3f}"), ("y", f"{view.y:.3f}"), ("zoom", f"{view.zoom:g}")]
    return "?" + urlencode([*filters.as_query(), *place])


def _number(request: HttpRequest, name: str, default: float) -> float:
    try:
        value = float(request.GET.get(name, default))
    except ValueError:
        return default
    return _limit(value) if isfinite(value) else default


def _zoom(request: HttpRequest) -> float:
    wanted = request.GET.get("zoom", "1")
    return next((zoom for zoom in ZOOMS if f"{zoom:g}" == wanted), 1.0)


def _limit(value: float) -> float:
    return max(-1.0, min(1.0, value))
