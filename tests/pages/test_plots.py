"""Drawings of scores, and that what beat knocks for is known to the workers."""

import xml.etree.ElementTree as ET

from django.conf import settings

from hub.celery import app
from merges.pages import plots
from merges.pages.plots import Dot


def test_a_confusion_matrix_leads_to_its_items_and_escapes_labels() -> None:
    drawn = str(plots.confusion(["<a>", "b&c"], [[3, 1], [0, 0]], "/evaluations/7/items"))
    tree = ET.fromstring(drawn)
    assert "3 of 4 right" in tree.attrib["aria-label"]
    assert tree.attrib["role"] == "group"  # a picture could hold no links
    links = [element.attrib["href"] for element in tree.iter() if element.tag == "a"]
    assert links == [
        "/evaluations/7/items?show=all&expected=%3Ca%3E&predicted=%3Ca%3E",
        "/evaluations/7/items?show=all&expected=%3Ca%3E&predicted=b%26c",
    ]
    assert "75 %" in drawn
    assert plots.confusion([], []) == "" == plots.confusion([str(n) for n in range(41)], [[0] * 41] * 41)


def test_scatter_and_series_are_well_formed() -> None:
    dots = [Dot(1000 * 4**n, 0.5 + n / 20, 0.45 + n / 20, 0.55 + n / 20, f"<s{n}>", f"/e/{n}") for n in range(5)]
    for drawn in (
        plots.scatter(dots, x_label="parameters", y_label="score"),
        plots.scatter(dots[:1], x_label="parameters", y_label="score"),
        plots.series(dots, [f"v{n}" for n in range(5)], y_label="score"),
        plots.series(dots[:1], ["v1"], y_label="score"),
    ):
        assert list(ET.fromstring(str(drawn)).iter("circle"))
    assert plots.scatter([], x_label="", y_label="") == plots.series([], [], y_label="") == ""


def test_every_task_that_beat_sends_is_known() -> None:
    app.loader.import_default_modules()
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        assert entry["task"] in app.tasks, name
