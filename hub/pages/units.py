"""Numbers, sizes and times as people read them. Plain functions of their arguments; the clock is an argument too."""

from datetime import datetime, timedelta

NBSP = "\u00a0"
DASH = "\u2013"
_STEPS = (
    (60, "minute", 60),
    (3600, "hour", 24),
    (86_400, "day", 30),
    (2_592_000, "month", 12),
    (31_536_000, "year", 0),
)


def filesize(count: float | None) -> str:
    """Bytes with a decimal unit: 999 -> "999 B", 5_300_000 -> "5.3 MB". None and negatives give a dash."""
    if count is None or count < 0:
        return DASH
    if count < 1000:
        return f"{int(count)}{NBSP}B"
    size = float(count)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        size /= 1000
        if size < 999.5 or unit == "PB":
            return f"{_three_digits(size)}{NBSP}{unit}"
    raise AssertionError("unreachable: the last unit always returns")


def compact(number: float | None) -> str:
    """A count in at most three digits: 22_713_216 -> "22.7 M". Exact below a thousand."""
    if number is None:
        return DASH
    sign, size = ("\u2212", -number) if number < 0 else ("", float(number))
    if size < 1000:
        return f"{sign}{size:g}" if size == int(size) else f"{sign}{size:.3g}"
    for unit in ("k", "M", "G", "T"):
        size /= 1000
        if size < 999.5 or unit == "T":
            return f"{sign}{_three_digits(size)}{NBSP}{unit}"
    raise AssertionError("unreachable: the last unit always returns")


def thousands(number: int | None) -> str:
    """An exact count with groups: 22713216 -> "22,713,216"."""
    return DASH if number is None else f"{number:,}".replace("-", "\u2212")


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one in per cent: 0.0123 -> "1.2%"; what would round to zero is written "<0.1%"."""
    if share is None or share != share:
        return DASH
    value = share * 100
    smallest = 10.0**-digits
    if 0 < value < smallest / 2:
        return f"<{smallest:.{digits}f}%"
    return f"{value:.{digits}f}%".replace("-", "\u2212")


def share(part: float | None) -> str:
    """A share in per cent that never rounds to nothing: 0.0782 -> "7.8%", 0.0004 -> "0.04%", 1e-9 -> "<0.001%"."""
    if part is None or part != part:
        return DASH
    value = abs(part) * 100
    if 0 < value < 0.001:
        return "<0.001%"
    return percent(part, 1 if value >= 1 or value == 0 else 2 if value >= 0.1 else 3)


def significant(number: float | None, digits: int = 3) -> str:
    """A number by its first digits, whatever its size: 0.001234 -> "0.00123", 2.5e-9 -> "2.5e−9"."""
    if number is None:
        return DASH
    text = f"{number:.{digits}g}"
    mantissa, _, exponent = text.partition("e")
    return (f"{mantissa}e{int(exponent)}" if exponent else text).replace("-", "\u2212")


def signed(number: float | None, digits: int = 3) -> str:
    """A difference with its sign: 0.0312 -> "+0.031", -0.2 -> "−0.200"."""
    if number is None:
        return DASH
    return f"{number:+.{digits}f}".replace("-", "\u2212")


def decimals(number: float | None, digits: int = 3) -> str:
    """A score with a fixed number of decimals: 0.9 -> "0.900"."""
    return DASH if number is None else f"{number:.{digits}f}".replace("-", "\u2212")


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: 0.42 -> "0.4 s", 125 -> "2 min 5 s", 7260 -> "2 h 1 min"."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{max(seconds, 0):.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NBSP}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min" + (f" {rest}{NBSP}s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}{NBSP}h" + (f" {minutes}{NBSP}min" if minutes else "")
    days, hours = divmod(hours, 24)
    return f"{days}{NBSP}d" + (f" {hours}{NBSP}h" if hours else "")


def relative(when: datetime, now: datetime) -> str:
    """How long ago, or how far ahead, in words: "just now", "5 minutes ago", "in 2 days"."""
    gap = now - when
    seconds = abs(gap).total_seconds()
    if seconds < 45:
        return "just now"
    words = ""
    for size, name, limit in _STEPS:
        count = max(1, int(seconds / size + (0.5 if name == "minute" else 0)))
        words = f"{count} {name}{'s' if count != 1 else ''}"
        if not limit or count < limit:
            break
    return f"in {words}" if gap < timedelta(0) else f"{words} ago"


def _three_digits(size: float) -> str:
    """9.95 -> "9.9", 43.21 -> "43.2", 432.1 -> "432"; no trailing ".0"."""
    text = f"{size:.1f}" if size < 99.95 else f"{size:.0f}"
    return text.removesuffix(".0")
