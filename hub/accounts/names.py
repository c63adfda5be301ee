"""Names of accounts and repos: one grammar, compared without regard to case, with our own routes reserved."""

import re
from collections.abc import Iterator
from functools import cache

from django.core.exceptions import ValidationError
from django.urls import URLResolver, get_resolver

MAX_LENGTH = 96
_GRAMMAR = re.compile(r"[A-Za-z0-9._-]{1,96}")
_RESERVED = frozenset(
    "api datasets spaces kernels models collections docs new settings static media oauth organizations users admin "
    "login logout join search help about favicon.ico robots.txt .well-known none null undefined tessera".split()
)


@cache
def reserved_names() -> frozenset[str]:
    """First path segments of our own routes, lower case, with a few words that would mislead."""
    return frozenset(_RESERVED | set(_first_segments(get_resolver()))) - {""}


def _first_segments(resolver: URLResolver) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        text = str(pattern.pattern).lstrip("^")
        if isinstance(pattern, URLResolver) and not text:
            yield from _first_segments(pattern)  # included at the root: its own segments come first
            continue
        segment = text.split("/", 1)[0].removesuffix("$")
        if re.fullmatch(r"[\w.-]+", segment):
            yield segment.lower()


def check_name(name: str) -> None:
    """Accept letters, digits, `-`, `_`, `.` (also at the ends). Raises ValidationError with a sentence that helps."""
    if not _GRAMMAR.fullmatch(name):
        raise ValidationError(
            f"'{name[:100]}' is not a usable name: use 1 to {MAX_LENGTH} letters, digits, '-', '_' or '.'.",
            code="invalid_name",
        )
    if set(name) == {"."} or name.lower().endswith(".git"):
        raise ValidationError(f"'{name}' is not a usable name: it would be read as a path.", code="invalid_name")


def check_account_name(name: str) -> None:
    """`check_name`, and not one of the addresses this site uses itself. Raises ValidationError."""
    check_name(name)
    if name.lower() in reserved_names():
        raise ValidationError(f"'{name}' is an address of this site; please choose another name.", code="reserved_name")


validators = [check_account_name]
