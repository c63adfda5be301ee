"""Numbers, times and drawings as people read them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.pages import drawings, units

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
S = units.NBSP


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, f"0{S}B"),
        (999, f"999{S}B"),
        (1000, f"1{S}kB"),
        (999_499, f"999{S}kB"),
        (999_600, f"1{S}MB"),
        (5_312_345, f"5.3{S}MB"),
        (2 * 10**9, f"2{S}GB"),
        (None, units.DASH),
        (-1, units.DASH),
    ],
)
def test_filesize(count: int | None, text: str) -> None:
    assert units.filesize(count) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1284, f"1.3{S}k"),
        (22_713_216, f"22.7{S}M"),
        (135_000_000, f"135{S}M"),
        (-1500, f"\u22121.5{S}k"),
    ],
)
def test_compact(number: int, text: str) -> None:
    assert units.compact(number) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0%"),
        (0.0065, "0.7%"),
        (0.00001, "<0.1%"),
        (1, "100.0%"),
        (None, units.DASH),
        (float("nan"), units.DASH),
    ],
)
def test_percent(share: float | None, text: str) -> None:
    assert units.percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, f"0.4{S}s"),
        (59.6, f"1{S}min"),
        (125, f"2{S}min 5{S}s"),
        (7260, f"2{S}h 1{S}min"),
        (90_000, f"1{S}d 1{S}h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (timedelta(seconds=10), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=23), "23 hours ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=29), "29 days ago"),
        (timedelta(days=45), "1 month ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(days=-2), "in 2 days"),
    ],
)
def test_relative(gap: timedelta, text: str) -> None:
    assert units.relative(NOW - gap, NOW) == text


@given(st.integers(0, 10**16))
def test_sizes_are_short(count: int) -> None:
    assert len(units.filesize(count)) <= 8


@given(st.text(max_size=30))
def test_avatar_escapes_and_is_stable(name: str) -> None:
    svg = drawings.avatar(name)
    assert svg == drawings.avatar(name)
    assert svg.count("<") == svg.count(">") == 5


@given(st.floats(-1, 2), st.floats(-1, 2), st.floats(-1, 2))
def test_score_stays_on_its_rail(value: float, low: float, high: float) -> None:
    svg = drawings.score(value, min(low, high), max(low, high), baseline=0.5)
    assert "style=" not in svg
    position = float(svg.split('class="point" cx="')[1].split('"')[0])
    assert 0 <= position <= drawings.SCORE_WIDTH


def test_heat_strip_says_what_it_shows() -> None:
    svg = drawings.heat_strip([("a", 0.0), ("b", 0.5), ("c<", 1.0)])
    assert "2 of 3 tensors changed, most in c&lt; (1)" in svg
    assert svg.count("<rect") == 3
    assert 'class="heat-0"' in svg
    assert 'class="heat-4"' in svg
    assert drawings.heat_strip([]) == ""
